#include "base/signals.h"

#include "base/text.h"

#include <csignal>
#include <cstring>

namespace trainctl {

int signal_number(std::string_view name) {
    const auto plain = starts_with(name, "SIG") ? name.substr(3) : name;
    for (int number = 1; number < NSIG; ++number)
        if (const char *known = ::sigabbrev_np(number); known != nullptr && plain == known)
            return number;
    return 0;
}

} // namespace trainctl
