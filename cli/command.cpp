#include "command.h"

#include "note.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <fmt/format.h>
#include <unistd.h>

namespace trainctl {

int report_error(const Error &error) {
    std::fflush(stdout);
    note("trainctl: error: {}\n", error.text());
    switch (error.kind) {
    case ErrorKind::invalid:
        return exit_usage;
    case ErrorKind::unreachable:
    case ErrorKind::timeout:
        return exit_unreachable;
    case ErrorKind::interrupted:
        return exit_interrupted;
    case ErrorKind::not_found:
    case ErrorKind::exists:
    case ErrorKind::denied:
    case ErrorKind::no_space:
    case ErrorKind::refused:
    case ErrorKind::io:
        return exit_failed;
    }
    return exit_failed;
}

std::function<std::string(const std::string &)> whole_number(std::int64_t least, std::int64_t most) {
    return [least, most](const std::string &text) -> std::string {
        std::int64_t number = 0;
        const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
        const bool ok = failed == std::errc{} && end == text.data() + text.size() && number >= least && number <= most;
        return ok ? "" : fmt::format("must be a whole number from {} to {}, not '{}'", least, most, text);
    };
}

void print(std::string_view text) {
    std::fflush(stdout);
    while (!text.empty()) {
        const auto n = ::write(STDOUT_FILENO, text.data(), text.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EPIPE)
            ::_exit(128 + SIGPIPE);
        if (n < 0) {
            note("trainctl: error: {}\n", errno_error(errno, "cannot write the result", "stdout").text());
            ::_exit(exit_failed);
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

} // namespace trainctl
