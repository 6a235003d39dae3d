#include "remote/transport.h"

#include <utility>

namespace trainctl {

LocalTransport::LocalTransport(Environment extra, std::function<bool()> interrupted)
    : environment_(std::move(extra)), interrupted_(std::move(interrupted)) {}

std::string LocalTransport::name() const {
    return "local";
}

Result<CommandResult> LocalTransport::run(const RemoteCommand &remote) {
    Command command{.argv = {"/bin/sh", "-c", remote.line}, .input = remote.input};
    auto environment = own_environment();
    for (const auto &[name, value] : environment_)
        environment.insert_or_assign(name, value);
    command.environment = std::move(environment);
    command.deadline = remote.deadline;
    command.max_output_bytes = remote.max_output_bytes;
    command.on_output = remote.on_output;
    command.more_input = remote.more_input;
    command.interrupted = interrupted_;
    return run_command(command);
}

} // namespace trainctl
