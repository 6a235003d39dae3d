// How long ranks may run without news, as a value. Pure.
//
// The head holds the lease from the START of its last successful beat write for `length`: a reader that saw
// that beat waits as long before it takes over. An agent holds what the head says is left, counted from the
// moment when the agent SENT the message that the head answers: delays on the way only shorten it.
#pragma once

#include "base/clock.h"

#include <algorithm>
#include <optional>

namespace trainctl {

class Lease {
public:
    // The lease goes on until `from + left`; older news never shortens it.
    void renew(Instant from, Duration left) {
        const Instant end = from + left;
        end_ = end_ ? std::max(*end_, end) : end;
    }
    // Of the process that ran while time was taken from it (a suspended job): all that was left stays.
    void shift(Duration by) {
        if (end_)
            *end_ += by;
    }

    bool granted() const { return end_.has_value(); }
    bool held(Instant now) const { return end_ && now < *end_; }
    bool lost(Instant now) const { return end_ && now >= *end_; }
    Duration left(Instant now) const { return held(now) ? *end_ - now : Duration::zero(); }
    std::optional<Instant> end() const { return end_; }

private:
    std::optional<Instant> end_;
};

// Recognizes that the monotonic clock went on while we did not (a suspended job): whoever looks at least
// every second and finds a longer gap than `jump_gap` moves its deadlines by the gap.
class JumpWatch {
public:
    static constexpr Duration jump_gap = std::chrono::seconds{5};

    explicit JumpWatch(Instant now) : last_(now) {}
    // Zero where there was no jump.
    Duration look(Instant now) {
        const Duration gap = now - last_;
        last_ = std::max(last_, now);
        return gap > jump_gap ? gap : Duration::zero();
    }
    Instant last() const { return last_; }

private:
    Instant last_;
};

} // namespace trainctl
