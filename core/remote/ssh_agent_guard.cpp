#include "remote/ssh_agent_guard.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace trainctl {

namespace {

// draft-miller-ssh-agent: a 32-bit length, a type, the contents; numbers in network order.
constexpr char identities_answer = 12;
constexpr std::size_t max_message = 256u << 10; // as in OpenSSH's agent

std::uint32_t number_at(std::string_view text, std::size_t at) {
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < 4; ++i)
        out = out << 8 | static_cast<unsigned char>(text[at + i]);
    return out;
}

std::string number(std::size_t value) {
    std::string out(4, '\0');
    for (std::size_t i = 0; i < 4; ++i)
        out[i] = static_cast<char>(value >> (24 - 8 * i) & 0xff);
    return out;
}

std::optional<std::string_view> take_string(std::string_view &rest) {
    if (rest.size() < 4 || rest.size() - 4 < number_at(rest, 0))
        return std::nullopt;
    const auto out = rest.substr(4, number_at(rest, 0));
    rest.remove_prefix(4 + out.size());
    return out;
}

int connect_agent(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return -1;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    // On a local socket this succeeds or fails at once; a full backlog counts as no agent.
    if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) {
        ::close(fd);
        return -1;
    }
    return fd;
}

} // namespace

std::string base64(std::string_view bytes) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
        for (std::size_t k = 0; k < 4; ++k)
            out += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

AgentGuard::AgentGuard(std::string socket_path, std::vector<std::string> wanted, const SshPatience &patience)
    : wanted_(std::move(wanted)), patience_(patience), agent_(connect_agent(socket_path)) {
    int ends[2];
    if (agent_ < 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return;
    for_libssh_ = ends[0];
    ours_ = ends[1];
    thread_ = std::thread{[this] { serve(); }};
}

AgentGuard::~AgentGuard() {
    stop_ = true;
    if (ours_ >= 0)
        ::shutdown(ours_, SHUT_RDWR); // wakes the thread
    if (thread_.joinable())
        thread_.join();
    for (const int fd : {ours_, agent_})
        if (fd >= 0)
            ::close(fd);
}

bool AgentGuard::has(const std::string &key) const {
    const std::lock_guard lock{mutex_};
    return std::find(found_.begin(), found_.end(), key) != found_.end();
}

namespace {

// All bytes in or out, within the patience; false when the other end is gone or time is over.
template <class Transfer> bool all_bytes(int fd, short events, const SshPatience &patience, Transfer transfer) {
    for (;;) {
        const auto slice = patience.slice();
        if (!slice)
            return false;
        pollfd poll{fd, events, 0};
        if (::poll(&poll, 1, *slice) <= 0)
            continue;
        const auto n = transfer();
        if (n == 0)
            return true;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
    }
}

bool receive(int fd, std::string &message, const SshPatience &patience) {
    message.clear();
    std::size_t wanted = 4;
    return all_bytes(fd, POLLIN, patience, [&]() -> ssize_t {
        char buffer[4096];
        const auto n = ::read(fd, buffer, std::min(sizeof buffer, wanted - message.size()));
        if (n == 0)
            errno = EPIPE;
        if (n <= 0)
            return -1;
        message.append(buffer, static_cast<std::size_t>(n));
        if (message.size() == 4)
            wanted = 4 + number_at(message, 0);
        if (wanted > max_message) {
            errno = EPROTO;
            return -1;
        }
        return message.size() == wanted && wanted > 4 ? 0 : 1;
    });
}

bool send_all(int fd, std::string_view message, const SshPatience &patience) {
    return all_bytes(fd, POLLOUT, patience, [&]() -> ssize_t {
        const auto n = ::send(fd, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return -1;
        message.remove_prefix(static_cast<std::size_t>(n));
        return message.empty() ? 0 : 1;
    });
}

} // namespace

std::string AgentGuard::choose(const std::string &answer) {
    if (answer.size() < 9 || answer[4] != identities_answer)
        return answer;
    std::string_view rest = std::string_view{answer}.substr(9);
    std::vector<std::pair<std::size_t, std::string>> chosen; // by their place in wanted_
    const std::lock_guard lock{mutex_};
    found_.clear();
    while (!rest.empty()) {
        const auto blob = take_string(rest), comment = take_string(rest);
        if (!blob || !comment)
            return answer;
        const auto key = base64(*blob);
        const auto place = std::find(wanted_.begin(), wanted_.end(), key);
        const bool is_wanted = place != wanted_.end();
        if (is_wanted)
            found_.push_back(key);
        if (is_wanted == (keys_ == AgentKeys::wanted))
            chosen.emplace_back(static_cast<std::size_t>(place - wanted_.begin()),
                                number(blob->size()) + std::string{*blob} + number(comment->size()) + std::string{*comment});
    }
    std::stable_sort(chosen.begin(), chosen.end(), [](const auto &a, const auto &b) { return a.first < b.first; });
    shown_ = static_cast<int>(chosen.size());
    std::string body = std::string(1, identities_answer) + number(chosen.size());
    for (const auto &[place, entry] : chosen)
        body += entry;
    return number(body.size()) + body;
}

void AgentGuard::serve() {
    std::string message;
    while (!stop_ && receive(ours_, message, patience_) && send_all(agent_, message, patience_) &&
           receive(agent_, message, patience_) && send_all(ours_, choose(message), patience_)) {
    }
    ::shutdown(ours_, SHUT_RDWR); // libssh reads an end of file and gives up
}

} // namespace trainctl
