#include "base/clock.h"

#include <ctime>
#include <fmt/format.h>
#include <thread>

namespace trainctl {

Instant SystemClock::now() { return std::chrono::steady_clock::now(); }
WallTime SystemClock::wall() { return std::chrono::system_clock::now(); }
void SystemClock::sleep_for(Duration duration) { std::this_thread::sleep_for(duration); }

std::int64_t unix_seconds(WallTime time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

WallTime from_unix_seconds(std::int64_t seconds) { return WallTime{std::chrono::seconds{seconds}}; }

std::string utc_text(WallTime time) {
    const std::time_t seconds = unix_seconds(time);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                       parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string human_duration(Duration duration) {
    using namespace std::chrono;
    if (duration < 0s)
        return "-" + human_duration(-duration);
    if (duration < 1s)
        return fmt::format("{} ms", duration_cast<milliseconds>(duration).count());
    const auto total = duration_cast<seconds>(duration).count();
    if (total < 60)
        return fmt::format("{} s", total);
    if (total < 3600)
        return fmt::format("{} m {:02} s", total / 60, total % 60);
    if (total < 86400)
        return fmt::format("{} h {:02} m", total / 3600, total % 3600 / 60);
    return fmt::format("{} d {:02} h", total / 86400, total % 86400 / 3600);
}

} // namespace trainctl
