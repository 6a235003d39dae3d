#include "remote/ssh_transport.h"

#include "base/text.h"
#include "remote/ssh_exec.h"
#include "remote/ssh_link.h"

#include <fmt/format.h>
#include <optional>
#include <utility>

namespace trainctl {

struct SshTransport::State {
    SshOptions options;
    Result<SshSettings> settings;
    std::unique_ptr<SshLink> link;

    Result<void> connect() {
        if (!settings)
            return settings.error();
        if (!settings->proxy.empty())
            return Error{ErrorKind::invalid, settings->proxy + " is not followed yet", ssh_where(*settings),
                         "run trainctl on a machine that reaches the cluster directly, or forward a port with `ssh -L` "
                         "and name it with HostName and Port"};
        auto opened = SshLink::open(options, *settings);
        if (!opened) {
            Error error = opened.error();
            if (!settings->not_followed.empty())
                error.hint += (error.hint.empty() ? "" : "; ") + ("not followed: " + join(settings->not_followed, ", "));
            return error;
        }
        link = *std::move(opened);
        return {};
    }
};

SshTransport::SshTransport(SshOptions options) : state_(nullptr) {
    auto settings = read_ssh_config({options.host, options.config_path, SshLocalUser::from_passwd()});
    state_.reset(new State{std::move(options), std::move(settings), nullptr});
}

SshTransport::~SshTransport() = default;

std::string SshTransport::name() const {
    return state_->settings ? ssh_where(*state_->settings) : state_->options.host;
}

Result<CommandResult> SshTransport::run(const RemoteCommand &command) {
    const bool used_before = state_->link != nullptr;
    if (!used_before)
        if (auto connected = state_->connect(); !connected)
            return connected.error();
    SshExec exec{*state_->link, {state_->options, name(), "the command", command.deadline}};
    auto started = exec.start(for_any_login_shell(command.line));
    if (!started && started.error().kind == ErrorKind::unreachable && used_before && !exec.asked()) {
        // The connection died while nobody used it; nothing was asked for yet.
        exec.drop();
        state_->link.reset();
        if (auto connected = state_->connect(); !connected)
            return connected.error();
        return run(command);
    }
    auto result = started ? exec.finish(command) : Result<CommandResult>{started.error()};
    if (!result) {
        exec.kill();
        exec.drop();
        state_->link.reset();
    }
    return result;
}

std::string for_any_login_shell(std::string_view line) {
    // In quotes csh changes '!' and rejects line ends, and fish changes '\\': these travel as octal for printf.
    if (line.find_first_of("!\n\\") == std::string_view::npos)
        return "exec /bin/sh -c " + shell_quote(line);
    std::string encoded;
    for (const char c : line) {
        if (c == '!' || c == '\n' || c == '\\')
            encoded += fmt::format("\\{:04o}", static_cast<unsigned char>(c));
        else
            encoded += c;
    }
    return "exec /bin/sh -c 'l=$(printf %b \"$1\"); shift; eval \"$l\"' sh " + shell_quote(encoded);
}

} // namespace trainctl
