// What trainctl and the desk agree on: marks that tell the desk's lines from the noise of a login shell. One JSON
// object in a line each way; messages first, {"answer": {...}} last.
#pragma once

#include <string_view>

namespace trainctl {

inline constexpr std::string_view desk_mark = "@trainctl-desk@";
inline constexpr std::string_view desk_missing_mark = "@trainctl-agent-missing@";
inline constexpr std::string_view desk_no_root_mark = "@trainctl-no-root@";
inline constexpr std::string_view desk_home_mark = "@trainctl-home@";
inline constexpr int desk_format = 1;
inline constexpr int agent_hash_digits = 16; // of an agent's SHA-256, in its file name

} // namespace trainctl
