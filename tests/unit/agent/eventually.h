// Waits for what a test expects, with a deadline.
#pragma once

#include <chrono>
#include <poll.h>

namespace trainctl {

template <class Condition> bool eventually(const Condition &holds, std::chrono::seconds limit = std::chrono::seconds{30}) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() >= end)
            return false;
        ::poll(nullptr, 0, 5);
    }
    return true;
}

} // namespace trainctl
