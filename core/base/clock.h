// Time, injected. Instants are monotonic and order events on one machine; WallTime is for people and for
// comparing with what Slurm prints. Logic gets `now` as an argument; only shells hold a Clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace trainctl {

using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

class Clock {
public:
    virtual ~Clock() = default;
    virtual Instant now() = 0;
    virtual WallTime wall() = 0;
    virtual void sleep_for(Duration duration) = 0;
};

class SystemClock final : public Clock {
public:
    Instant now() override;
    WallTime wall() override;
    void sleep_for(Duration duration) override;
};

// Seconds since the Unix epoch, and "2026-11-22T20:18:06Z".
std::int64_t unix_seconds(WallTime time);
WallTime from_unix_seconds(std::int64_t seconds);
std::string utc_text(WallTime time);
// "850 ms", "12 s", "3 m 10 s", "4 h 05 m", "2 d 03 h": two units at most, for people.
std::string human_duration(Duration duration);

} // namespace trainctl
