// Whether a tar file is there to its last byte. Pure but for the reader that it is given.
#pragma once

#include "checkpoint/facts.h"

namespace trainctl {

// What is wrong, or "". Members follow each other to two empty blocks, and the file ends with the record that these are in.
// `needed`: each must be the beginning of a member's base name. Format: POSIX.1-2008 pax, "ustar Interchange Format";
// records of 20 blocks, as Python's tarfile (RECORDSIZE) and GNU tar write them.
std::string tar_problem(const ReadAt &read, std::uint64_t size, const std::vector<std::string> &needed);

} // namespace trainctl
