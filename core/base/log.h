// Log lines with a time and a level: "2026-11-22T10:00:00Z info head: text", in UTC. Where a line goes is the caller's
// business: nothing here blocks, throws or writes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace spdlog {
class logger;
}

namespace trainctl {

class Log {
public:
    using Sink = std::function<void(const std::string &line)>; // a line, without its newline

    Log(const std::string &who, Sink sink);
    ~Log();
    Log(Log &&) noexcept;
    Log &operator=(Log &&) noexcept;

    void debug(std::string_view text) const;
    void info(std::string_view text) const;
    void warning(std::string_view text) const;

private:
    std::unique_ptr<spdlog::logger> logger_;
};

} // namespace trainctl
