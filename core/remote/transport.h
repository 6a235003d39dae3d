// How trainctl reaches a cluster: run a command there, with input and output as streams. LocalTransport for
// login nodes, SshTransport (libssh) from elsewhere. A transport is one connection, opened on first use.
#pragma once

#include "base/process.h"
#include "base/result.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace trainctl {

// A command line for a POSIX shell on the other side (callers quote with shell_join), its input and its limits.
struct RemoteCommand {
    std::string line;
    std::string input;
    // Where set, called again and again for more input after `input`, until it gives an empty piece.
    std::function<Result<std::string>()> more_input = {};
    // Where set, stdout goes here piece by piece and not into CommandResult::out; false ends the command.
    std::function<bool(std::string_view)> on_output = {};
    Duration deadline = std::chrono::seconds{60};
    std::size_t max_output_bytes = 64u << 20;
};

class Transport {
public:
    virtual ~Transport() = default;
    // A command that ran and failed is a value. Errors: denied (authentication, host key), unreachable (no
    // connection, or lost: the command may have had its effect), timeout (likewise), interrupted.
    virtual Result<CommandResult> run(const RemoteCommand &command) = 0;
    // For people: "local", "user@host:port".
    virtual std::string name() const = 0;
};

class LocalTransport final : public Transport {
public:
    // `extra` is added to our own environment; see Command::interrupted.
    explicit LocalTransport(Environment extra = {}, std::function<bool()> interrupted = {});
    Result<CommandResult> run(const RemoteCommand &command) override;
    std::string name() const override;

private:
    Environment environment_;
    std::function<bool()> interrupted_;
};

} // namespace trainctl
