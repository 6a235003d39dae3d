#include "remote/logged_transport.h"

#include <fmt/format.h>
#include <utility>

namespace trainctl {

LoggedTransport::LoggedTransport(std::unique_ptr<Transport> inner, Log log) : inner_(std::move(inner)), log_(std::move(log)) {}

Result<CommandResult> LoggedTransport::run(const RemoteCommand &command) {
    std::size_t sent = command.input.size(), received = 0;
    RemoteCommand counted = command;
    if (command.more_input)
        counted.more_input = [&]() -> Result<std::string> {
            auto piece = command.more_input();
            sent += piece ? piece->size() : 0;
            return piece;
        };
    if (command.on_output)
        counted.on_output = [&](std::string_view piece) {
            received += piece.size();
            return command.on_output(piece);
        };
    log_.debug(fmt::format("run: {}", command.line));
    const Instant started = clock_.now();
    auto result = inner_->run(counted);
    const double seconds = std::chrono::duration<double>(clock_.now() - started).count();
    if (result)
        log_.debug(fmt::format("code {} after {:.3f} s, {} bytes sent, {} received", result->exit_code, seconds, sent, received + result->out.size()));
    else
        log_.warning(fmt::format("{} after {:.3f} s, {} bytes sent", result.error().text(), seconds, sent));
    return result;
}

} // namespace trainctl
