// How single values are written in trainctl's files: whole numbers, durations, sizes, command lines. Pure.
// Errors are of kind invalid; their message tells what is wrong with the text and what to write.
#pragma once

#include "base/result.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// Decimal, without leading zeros, signs other than "-", or separators.
Result<std::int64_t> parse_integer(std::string_view text);

// "90s", "15m", "24h", "7d", "2w", "1h30m", and Slurm's "12:00:00", "1-12", "1-12:00", "1-12:00:00". A bare
// number (Slurm: minutes) and "MM:SS" are refused: people read them differently.
Result<std::chrono::seconds> parse_duration(std::string_view text);
// "1d12h", "90s" as "1m30s": parse_duration reads it back.
std::string duration_text(std::chrono::seconds duration);

// MiB, rounded up. K, M, G, T (as Slurm has them) and KiB, MiB, GiB, TiB count in 1024s; KB, MB, GB, TB in 1000s.
Result<std::uint64_t> parse_size_mib(std::string_view text);
std::string size_text(std::uint64_t mib);

// Words of a command line as a POSIX shell splits them (quotes, backslash), with nothing expanded. What only a
// shell could do (pipes, redirections, lists, $(...), $NAME) outside quotes is an error.
Result<std::vector<std::string>> split_words(std::string_view text);

} // namespace trainctl
