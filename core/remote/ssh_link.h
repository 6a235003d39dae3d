// One live SSH connection, inside of SshTransport: connecting, the server's host key, authentication, waiting.
// Every wait has a limit, can be interrupted, and notices a dead peer.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "remote/ssh_config.h"
#include "remote/ssh_transport.h"

#include <functional>
#include <memory>
#include <string>

struct ssh_session_struct;

namespace trainctl {

// How long something may take, and who may end it before.
struct SshPatience {
    const SshOptions &options;
    std::string where; // user@host:port
    std::string what;  // "connecting"
    Duration limit;
    Instant end = std::chrono::steady_clock::now() + limit;

    // Milliseconds to sleep at most, 100 at most; an error when the time is over or we are interrupted.
    Result<int> slice() const;
};

class SshLink {
public:
    // Connects, checks the host key and authenticates. Errors: unreachable, denied, timeout, interrupted.
    static Result<std::unique_ptr<SshLink>> open(const SshOptions &options, const SshSettings &settings);
    ~SshLink();
    SshLink(const SshLink &) = delete;
    SshLink &operator=(const SshLink &) = delete;

    ssh_session_struct *session() const { return session_; }
    // Calls `step` until it gives something else than SSH_AGAIN, and waits for the network in between.
    Result<int> drive(const SshPatience &patience, const std::function<int()> &step);
    // Waits until the network has something for us, or a moment has passed.
    Result<void> wait(const SshPatience &patience);
    Error lost(const std::string &where) const; // with libssh's words
    bool alive() const;
    std::uint64_t bytes_heard() const; // so far
    void ask_for_life();               // sends a keepalive; its answer shows in bytes_heard()

private:
    explicit SshLink(const SshOptions &options);
    Result<void> start(const SshSettings &settings, const SshPatience &patience);
    Result<void> check_host(const SshSettings &settings, const std::string &where);
    Result<void> check_alive(const std::string &where);

    struct Counters;
    const SshOptions &options_;
    ssh_session_struct *session_ = nullptr;
    std::unique_ptr<Counters> counters_;
};

// A connected TCP socket, not blocking. Tries all addresses of the host.
Result<int> connect_tcp(const std::string &host, int port, const SshPatience &patience);

// ssh-agent, then key files; never asks a person. Error denied lists all that was tried.
Result<void> authenticate(SshLink &link, const SshSettings &settings, const SshPatience &patience);

std::string ssh_where(const SshSettings &settings);

} // namespace trainctl
