#include "remote/ssh_exec.h"

#include "base/feed.h"
#include "base/signals.h"

#include <algorithm>
#include <array>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <optional>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t piece_size = 32u << 10; // what servers take in one packet
// After the command's exit a child of it may hold its output open: this long a silence, and then a sign of life
// from the server, show that nothing is on its way any more.
constexpr Duration quiet_after_exit = 1s;

void keep(std::string &into, std::string_view bytes, std::size_t limit, bool &truncated) {
    const auto room = limit - std::min(limit, into.size());
    into.append(bytes.substr(0, room));
    truncated |= bytes.size() > room;
}

} // namespace

struct SshExec::State {
    SshLink &link;
    SshPatience patience;
    ssh_channel channel = nullptr;
    ssh_channel_callbacks_struct callbacks{};
    bool asked = false;
    std::optional<int> exit_code;
    bool input_open = true;
    Instant last_data{};
    std::uint64_t heard_at_probe = 0;
    bool probed = false;
    CommandResult result;

    Result<bool> read(const RemoteCommand &command, bool is_stderr);
    Result<bool> write(Feed &input);
    bool ended() const;
    bool abandoned();
};

namespace {

void on_exit_status(ssh_session, ssh_channel, int status, void *code) {
    *static_cast<std::optional<int> *>(code) = status & 0xff;
}

void on_exit_signal(ssh_session, ssh_channel, const char *name, int, const char *, const char *, void *code) {
    const int number = signal_number(name != nullptr ? name : "");
    *static_cast<std::optional<int> *>(code) = number != 0 ? 128 + number : 255; // none: a signal that RFC 4254 has no name for
}

} // namespace

SshExec::SshExec(SshLink &link, SshPatience patience)
    : state_(new State{link, std::move(patience), nullptr, {}, false, {}, true, {}, 0, false, {}}) {}

SshExec::~SshExec() {
    drop();
}

bool SshExec::asked() const {
    return state_->asked;
}

void SshExec::drop() {
    if (state_->channel == nullptr)
        return;
    ssh_channel_free(std::exchange(state_->channel, nullptr));
}

void SshExec::kill() {
    if (state_->channel != nullptr && state_->asked && state_->link.alive() && !state_->exit_code)
        ssh_channel_request_send_signal(state_->channel, "KILL");
}

Result<void> SshExec::start(const std::string &line) {
    auto &s = *state_;
    if (!s.link.alive())
        return s.link.lost(s.patience.where);
    s.channel = ssh_channel_new(s.link.session());
    if (s.channel == nullptr)
        return s.link.lost(s.patience.where);
    const auto opened = s.link.drive(s.patience, [&] { return ssh_channel_open_session(s.channel); });
    if (!opened)
        return opened.error();
    if (*opened != SSH_OK) {
        if (!s.link.alive())
            return s.link.lost(s.patience.where);
        return Error{ErrorKind::refused, std::string{"the server opens no session: "} + ssh_get_error(s.link.session()),
                     s.patience.where, "its sshd may limit sessions (MaxSessions)"};
    }
    s.callbacks.userdata = &s.exit_code;
    s.callbacks.channel_exit_status_function = on_exit_status;
    s.callbacks.channel_exit_signal_function = on_exit_signal;
    ssh_callbacks_init(&s.callbacks);
    ssh_set_channel_callbacks(s.channel, &s.callbacks);
    s.asked = true;
    const auto started = s.link.drive(s.patience, [&] { return ssh_channel_request_exec(s.channel, line.c_str()); });
    if (!started)
        return started.error();
    if (*started != SSH_OK) {
        if (!s.link.alive())
            return s.link.lost(s.patience.where);
        return Error{ErrorKind::refused, "the server runs no commands for us", s.patience.where,
                     "a forced command or a restricted shell there may forbid it"};
    }
    s.last_data = std::chrono::steady_clock::now();
    return {};
}

// Moves what is there of one stream; true where something came.
Result<bool> SshExec::State::read(const RemoteCommand &command, bool is_stderr) {
    std::array<char, piece_size> buffer;
    const int n = ssh_channel_read_nonblocking(channel, buffer.data(), buffer.size(), is_stderr ? 1 : 0);
    if (n == SSH_ERROR && !link.alive())
        return link.lost(patience.where);
    if (n <= 0)
        return false;
    last_data = std::chrono::steady_clock::now();
    probed = false;
    const std::string_view bytes{buffer.data(), static_cast<std::size_t>(n)};
    if (is_stderr)
        keep(result.err, bytes, command.max_output_bytes, result.truncated);
    else if (!command.on_output)
        keep(result.out, bytes, command.max_output_bytes, result.truncated);
    else if (!command.on_output(bytes))
        return Error{ErrorKind::interrupted, "the command was ended on request", patience.where, ""};
    return true;
}

// Sends what the other side's window takes, one piece; true where something went.
Result<bool> SshExec::State::write(Feed &input) {
    // More than one piece waiting for the network would only fill memory.
    if (!input_open || (ssh_get_poll_flags(link.session()) & SSH_WRITE_PENDING) != 0)
        return false;
    if (exit_code || ssh_channel_is_open(channel) == 0) {
        input_open = false;
        return false;
    }
    const auto window = std::min(ssh_channel_window_size(channel), piece_size);
    if (window == 0)
        return false;
    const auto bytes = input.next();
    if (!bytes)
        return bytes.error();
    if (bytes->empty()) {
        input_open = false;
        ssh_channel_send_eof(channel);
        return true;
    }
    const auto size = static_cast<std::uint32_t>(std::min<std::size_t>(bytes->size(), window));
    const int n = ssh_channel_write(channel, bytes->data(), size);
    if (n == SSH_ERROR && !link.alive())
        return link.lost(patience.where);
    if (n > 0)
        input.taken(static_cast<std::size_t>(n));
    return n > 0;
}

bool SshExec::State::ended() const {
    return ssh_channel_is_closed(channel) != 0 || (exit_code && ssh_channel_is_eof(channel) != 0);
}

// The command has ended, but its output has not: a child of it lives on.
bool SshExec::State::abandoned() {
    if (!exit_code || std::chrono::steady_clock::now() - last_data < quiet_after_exit)
        return false;
    if (!probed) {
        probed = true;
        heard_at_probe = link.bytes_heard();
        link.ask_for_life();
        return false;
    }
    return link.bytes_heard() != heard_at_probe;
}

Result<CommandResult> SshExec::finish(const RemoteCommand &command) {
    auto &s = *state_;
    Feed input{command.input, command.more_input};
    for (;;) {
        const auto out = s.read(command, false);
        if (!out)
            return out.error();
        const auto err = s.read(command, true);
        if (!err)
            return err.error();
        const auto in = s.write(input);
        if (!in)
            return in.error();
        if (*out || *err)
            continue;
        // After the end of both streams libssh's reads take no packets any more; this one does, until the status is there.
        ssh_channel_get_exit_status(s.channel);
        if (s.ended() || s.abandoned())
            break;
        if (*in)
            continue;
        if (const auto waited = s.link.wait(s.patience); !waited) {
            if (waited.error().kind == ErrorKind::timeout && s.exit_code)
                break;
            return waited.error();
        }
    }
    if (!s.exit_code)
        return Error{ErrorKind::unreachable, "the server ended the session without telling how the command ended",
                     s.patience.where, "the command may have had its effect: look before asking again"};
    s.result.exit_code = *s.exit_code;
    return std::move(s.result);
}

} // namespace trainctl
