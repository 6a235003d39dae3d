// Whether a zip file, as torch.save writes it, is there to its last byte: by its directory, which comes last.
// Pure but for the reader that it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace trainctl {

// `length` bytes from `offset`; fewer where the file ends or can't be read.
using ReadAt = std::function<std::string(std::uint64_t offset, std::size_t length)>;

// What is wrong, or "". The end record must end with the file, the directory must end where the end record
// begins and be whole, and every member must lie between the file's start and the directory.
// Format: PKWARE APPNOTE 6.3, sections 4.3.6 to 4.3.16, zip64 included.
std::string zip_problem(const ReadAt &read, std::uint64_t size);

} // namespace trainctl
