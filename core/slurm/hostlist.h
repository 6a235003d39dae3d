// Slurm's host lists: "n[1-3,07],gpu-[01-10]-x" to names and back, as `scontrol show hostnames` and `hostlist` do.
// Pure, of bounded size.
#pragma once

#include "base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// More names than any cluster has nodes; a longer list is an error and not a full memory.
inline constexpr std::size_t most_hosts = 65536;

// Names in Slurm's order, duplicates kept. Empty text, "(null)" and "None assigned" are no hosts. Error: invalid.
Result<std::vector<std::string>> expand_hostlist(std::string_view text);

// Neighbours of one prefix and following numbers become ranges: {"n1","n2","n4"} -> "n[1-2,4]".
std::string compress_hostlist(const std::vector<std::string> &hosts);

} // namespace trainctl
