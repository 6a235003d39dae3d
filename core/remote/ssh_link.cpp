#include "remote/ssh_link.h"

#include "base/text.h"
#include "remote/ssh_known_hosts.h"

#include <algorithm>
#include <fmt/format.h>
#include <libssh/libssh.h>
#include <libssh/server.h>
#include <poll.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr int max_slice_ms = 100; // how late `interrupted` may be seen without a signal

Result<HostKey> server_key(ssh_session session, const std::string &where) {
    ssh_key key = nullptr;
    if (ssh_get_server_publickey(session, &key) != SSH_OK)
        return Error{ErrorKind::unreachable, "the server showed no host key", where, ""};
    HostKey out{ssh_key_type_to_char(ssh_key_type(key)), {}};
    char *base64 = nullptr;
    if (ssh_pki_export_pubkey_base64(key, &base64) == SSH_OK)
        out.base64 = base64;
    ssh_string_free_char(base64);
    ssh_key_free(key);
    return out;
}

std::vector<KnownHostLine> known_lines(const SshSettings &settings) {
    auto files = settings.user_known_hosts;
    files.insert(files.end(), settings.global_known_hosts.begin(), settings.global_known_hosts.end());
    const auto &alias = settings.host_key_alias;
    return find_known_hosts(alias.empty() ? known_hosts_name(settings.hostname, settings.port) : alias, files);
}

std::string first_file(const std::vector<std::string> &files) {
    return files.empty() ? "~/.ssh/known_hosts" : files[0];
}

Error unknown_host(const SshSettings &settings, const HostKey &key, const std::string &where) {
    const auto file = first_file(settings.user_known_hosts);
    const auto scan = settings.port == 22 ? "ssh-keyscan " : fmt::format("ssh-keyscan -p {} ", settings.port);
    // keyscan writes the name that it was given: with an alias that is not the name looked up.
    const auto rename = settings.host_key_alias.empty()
                            ? ""
                            : fmt::format(" | sed 's/^[^ ]*/{}/'", settings.host_key_alias);
    return Error{ErrorKind::denied,
                 fmt::format("the host key is not known: {} {}", key.type, key_fingerprint(key)), where,
                 fmt::format("compare the fingerprint with what the cluster's people publish; then add it with `ssh {}` "
                             "once, or with `{}{}{} >> {}`",
                             shell_quote(settings.alias), scan, shell_quote(settings.hostname), rename, shell_quote(file))};
}

Error changed_host(const HostKey &key, const std::vector<KnownHostLine> &lines, const std::string &where) {
    std::vector<std::string> promised;
    for (const auto &line : lines)
        promised.push_back(fmt::format("{} {} ({})", line.key.type, key_fingerprint(line.key), line.where));
    return Error{ErrorKind::denied,
                 fmt::format("the host key has CHANGED: the server shows {} {}, but known is {}", key.type,
                             key_fingerprint(key), join(promised, " and ")),
                 where,
                 "somebody may be listening in, or the server was set up anew: ask the cluster's people, and only then "
                 "remove the line named above"};
}

} // namespace

struct SshLink::Counters {
    ssh_counter_struct socket{};
    std::uint64_t heard_before = 0;
    Instant heard_at = std::chrono::steady_clock::now();
    int asked = 0;
};

std::string ssh_where(const SshSettings &settings) {
    return fmt::format("{}@{}:{}", settings.user, settings.hostname, settings.port);
}

Result<int> SshPatience::slice() const {
    if (options.interrupted && options.interrupted())
        return Error{ErrorKind::interrupted, what + " was interrupted", where, ""};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0)
        return Error{ErrorKind::timeout, fmt::format("{} took more than {}", what, human_duration(limit)), where, ""};
    return static_cast<int>(std::min<long long>(left, max_slice_ms));
}

SshLink::SshLink(const SshOptions &options)
    : options_(options), session_(ssh_new()), counters_(std::make_unique<Counters>()) {
    INVARIANT(session_ != nullptr);
    ssh_set_counters(session_, &counters_->socket, nullptr);
}

SshLink::~SshLink() {
    if (alive())
        ssh_disconnect(session_);
    ssh_free(session_);
}

bool SshLink::alive() const {
    return ssh_is_connected(session_) != 0;
}

std::uint64_t SshLink::bytes_heard() const {
    return counters_->socket.in_bytes;
}

void SshLink::ask_for_life() {
    ssh_send_keepalive(session_);
}

Error SshLink::lost(const std::string &where) const {
    const std::string said = ssh_get_error(session_);
    return Error{ErrorKind::unreachable, "the connection was lost" + (said.empty() ? "" : ": " + said), where,
                 "what was asked for may have happened or not: look before asking again"};
}

Result<void> SshLink::check_alive(const std::string &where) {
    auto &heard = *counters_;
    const auto now = std::chrono::steady_clock::now();
    if (bytes_heard() != heard.heard_before) {
        heard.heard_before = bytes_heard();
        heard.heard_at = now;
        heard.asked = 0;
    }
    const auto silent = now - heard.heard_at;
    if (silent < options_.keepalive_interval * (heard.asked + 1))
        return {};
    if (heard.asked >= options_.keepalive_missed)
        return Error{ErrorKind::unreachable, "the connection is dead: no sign of life for " + human_duration(silent), where,
                     "what was asked for may have happened or not: look before asking again"};
    ++heard.asked;
    ask_for_life();
    return {};
}

Result<void> SshLink::wait(const SshPatience &patience) {
    const auto slice = patience.slice();
    if (!slice)
        return slice.error();
    if (!alive())
        return lost(patience.where);
    const bool unsent = (ssh_get_poll_flags(session_) & SSH_WRITE_PENDING) != 0;
    pollfd poll{ssh_get_fd(session_), static_cast<short>(unsent ? POLLIN | POLLOUT : POLLIN), 0};
    ::poll(&poll, 1, *slice);
    return check_alive(patience.where);
}

Result<int> SshLink::drive(const SshPatience &patience, const std::function<int()> &step) {
    for (;;) {
        const int code = step();
        if (code != SSH_AGAIN)
            return code;
        if (const auto waited = wait(patience); !waited)
            return waited.error();
    }
}

Result<void> SshLink::start(const SshSettings &settings, const SshPatience &patience) {
    const auto fd = connect_tcp(settings.hostname, settings.port, patience);
    if (!fd)
        return fd.error();
    const int no = 0;
    const auto port = static_cast<unsigned>(settings.port);
    const auto algorithms = host_key_algorithms(known_lines(settings));
    // Neither its config parser nor its known_hosts reader is wanted: both are ours.
    const bool set = ssh_options_set(session_, SSH_OPTIONS_PROCESS_CONFIG, &no) == SSH_OK &&
                     ssh_options_set(session_, SSH_OPTIONS_HOST, settings.hostname.c_str()) == SSH_OK &&
                     ssh_options_set(session_, SSH_OPTIONS_PORT, &port) == SSH_OK &&
                     ssh_options_set(session_, SSH_OPTIONS_USER, settings.user.c_str()) == SSH_OK &&
                     ssh_options_set(session_, SSH_OPTIONS_KNOWNHOSTS, "/dev/null") == SSH_OK &&
                     ssh_options_set(session_, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null") == SSH_OK &&
                     ssh_options_set(session_, SSH_OPTIONS_HOSTKEYS, algorithms.c_str()) == SSH_OK;
    const int socket = *fd;
    if (!set || ssh_options_set(session_, SSH_OPTIONS_FD, &socket) != SSH_OK) {
        ::close(socket);
        return Error{ErrorKind::invalid, ssh_get_error(session_), patience.where, ""};
    }
    ssh_set_blocking(session_, 0);
    const auto connected = drive(patience, [&] { return ssh_connect(session_); });
    if (!connected)
        return connected.error();
    if (*connected != SSH_OK)
        return Error{ErrorKind::unreachable, std::string{"no SSH there: "} + ssh_get_error(session_), patience.where,
                     "check with `ssh " + shell_quote(settings.alias) + "`"};
    return check_host(settings, patience.where);
}

Result<void> SshLink::check_host(const SshSettings &settings, const std::string &where) {
    const auto key = server_key(session_, where);
    if (!key)
        return key.error();
    const auto lines = known_lines(settings);
    switch (judge_host_key(*key, lines)) {
    case HostTrust::known:
        return {};
    case HostTrust::unknown:
        return unknown_host(settings, *key, where);
    case HostTrust::changed:
        return changed_host(*key, lines, where);
    case HostTrust::revoked:
        return Error{ErrorKind::denied, "the host key is revoked: " + key->type + " " + key_fingerprint(*key), where,
                     "a @revoked line of the known_hosts files has it; don't connect before that is cleared up"};
    }
    INVARIANT(false);
}

Result<std::unique_ptr<SshLink>> SshLink::open(const SshOptions &options, const SshSettings &settings) {
    std::unique_ptr<SshLink> link{new SshLink{options}};
    const auto where = ssh_where(settings);
    const SshPatience connecting{options, where, "connecting", options.connect_limit};
    if (auto started = link->start(settings, connecting); !started)
        return started.error();
    const SshPatience proving{options, where, "authentication", options.auth_limit};
    if (auto done = authenticate(*link, settings, proving); !done)
        return done.error();
    return link;
}

} // namespace trainctl
