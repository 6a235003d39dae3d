// Whether a zip file, as torch.save writes it, is there to its last byte: by its directory, which comes last.
// Pure but for the reader that it is given.
#pragma once

#include "checkpoint/facts.h"

namespace trainctl {

// What is wrong, or "". The end record must end with the file, the directory must end where the end record
// begins and be whole, and every member must lie between the file's start and the directory.
// Format: PKWARE APPNOTE 6.3, sections 4.3.6 to 4.3.16, zip64 included.
std::string zip_problem(const ReadAt &read, std::uint64_t size);

// Where the content of a member lies that is stored as it is, by the end of its name: "/data.pkl". Nothing where there is
// none, or more than one, or the file is no whole zip.
struct ZipMember {
    std::uint64_t offset = 0, size = 0;
};
std::optional<ZipMember> zip_member(const ReadAt &read, std::uint64_t size, std::string_view name_end);

} // namespace trainctl
