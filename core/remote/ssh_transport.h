// Transport over SSH (libssh): one connection, opened at the first command and opened anew when it was lost
// between two commands; one channel for each command. Nothing in it waits without a limit or asks a question.
// Stdout may begin with what a login shell prints (a motd, an echo in .bashrc): callers print a marker first.
#pragma once

#include "remote/transport.h"

#include <functional>
#include <memory>
#include <string>

namespace trainctl {

struct SshOptions {
    std::string host;        // a Host of ssh_config or a host name; "user@" before it wins over the config
    std::string config_path; // empty: ~/.ssh/config, then /etc/ssh/ssh_config
    Duration connect_limit = std::chrono::seconds{15}; // name, TCP and key exchange
    Duration auth_limit = std::chrono::seconds{15};
    // A peer that was silent for `interval` is asked for a sign of life; after `missed` silent intervals it is lost.
    Duration keepalive_interval = std::chrono::seconds{15};
    int keepalive_missed = 3;
    // Asked at least ten times a second and after every signal, from a second thread while an ssh-agent is asked:
    // true ends what is being done with an error of kind interrupted.
    std::function<bool()> interrupted = {};
};

class SshTransport final : public Transport {
public:
    explicit SshTransport(SshOptions options);
    ~SshTransport() override;

    // A command that is ended here (deadline, interrupted, on_output, more_input) gets SIGKILL there, and the
    // connection is closed; the next run() opens another.
    Result<CommandResult> run(const RemoteCommand &command) override;
    // "user@host:port" as the configuration says; the host alone while that can't be read.
    std::string name() const override;

private:
    struct State;
    std::unique_ptr<State> state_;
};

// `line` for /bin/sh, whatever the login shell is: POSIX, csh and fish read the result alike.
std::string for_any_login_shell(std::string_view line);

} // namespace trainctl
