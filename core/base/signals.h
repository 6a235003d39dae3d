// Names of signals. Pure.
#pragma once

#include <string>
#include <string_view>

namespace trainctl {

// Of "USR1" or "SIGUSR1"; 0 where there is none of this name.
int signal_number(std::string_view name);

} // namespace trainctl
