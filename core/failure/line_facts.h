// What a line of a log says of itself: when it was written, where, and by which rank. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl {

// "2024-05-01 10:00:03" or with a T, among the line's first 256 bytes: Unix seconds as if it were UTC.
std::optional<std::int64_t> time_of_line(std::string_view line);

// What launchers put in front of a line that a program printed, in bytes: trainctl's "2024-05-01T10:00:03Z [r3] ", srun
// --label's " 3: ", torchrun's "[default3]:", mpirun's "[1,3]<stderr>:".
std::size_t launcher_prefix(std::string_view line);

// Of "[rank3]:", "[Rank 3]", "(RankN)", else of a launcher's prefix that names the rank; and of "node-1:5276:5696 [1] NCCL".
std::optional<int> rank_of_line(std::string_view line);
std::string host_of_line(std::string_view line);

// Removes the escape sequences of terminals (CSI, OSC and two-byte ones), in place.
void strip_escapes(std::string &text);

} // namespace trainctl
