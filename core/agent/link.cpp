#include "agent/link.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t max_unsent_bytes = 4 * max_frame_bytes; // the other side does not read: hang up

std::string address_text(const sockaddr_storage &address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in &>(address).sin_addr, text, sizeof text);
        return text;
    }
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6 &>(address).sin6_addr, text, sizeof text);
    const std::string out{text};
    return out.rfind("::ffff:", 0) == 0 ? out.substr(7) : out;
}

sockaddr *plain(sockaddr_storage &address) { return reinterpret_cast<sockaddr *>(&address); }

int port_of(int socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(socket, plain(address), &size) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET ? reinterpret_cast<sockaddr_in &>(address).sin_port
                                              : reinterpret_cast<sockaddr_in6 &>(address).sin6_port);
}

// IPv6 and IPv4 on one socket; IPv4 alone where the machine has no IPv6.
Fd bind_anywhere() {
    Fd both{::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (both) {
        const int off = 0;
        sockaddr_in6 any{};
        any.sin6_family = AF_INET6;
        ::setsockopt(both.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (::bind(both.get(), reinterpret_cast<sockaddr *>(&any), sizeof any) == 0)
            return both;
    }
    Fd old{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    sockaddr_in any{};
    any.sin_family = AF_INET;
    if (old && ::bind(old.get(), reinterpret_cast<sockaddr *>(&any), sizeof any) != 0)
        old.close();
    return old;
}

Result<Fd> connected_socket(const std::string &address, int port, int type) {
    sockaddr_storage target{};
    socklen_t size = sizeof(sockaddr_in);
    auto &four = reinterpret_cast<sockaddr_in &>(target);
    auto &six = reinterpret_cast<sockaddr_in6 &>(target);
    if (::inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1) {
        four.sin_family = AF_INET;
        four.sin_port = htons(static_cast<std::uint16_t>(port));
    } else if (::inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) == 1) {
        six.sin6_family = AF_INET6;
        six.sin6_port = htons(static_cast<std::uint16_t>(port));
        size = sizeof(sockaddr_in6);
    } else {
        return Error{ErrorKind::invalid, "not a numeric address: " + address, "", ""};
    }
    Fd socket{::socket(target.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!socket)
        return errno_error(errno, "cannot make a socket", address);
    if (::connect(socket.get(), plain(target), size) != 0 && errno != EINPROGRESS)
        return errno_error(errno, "cannot connect", address);
    return socket;
}

std::string local_address_of(int socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    return ::getsockname(socket, plain(address), &size) == 0 ? address_text(address) : "";
}

} // namespace

TcpLink::TcpLink(Loop &loop, Fd socket, Calls calls) : loop_(loop), socket_(std::move(socket)), calls_(std::move(calls)) {
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    loop_.when_readable(socket_.get(), [this] { read(); });
}

TcpLink::~TcpLink() {
    *alive_ = false;
    close_socket();
}

void TcpLink::close_socket() {
    if (!socket_)
        return;
    loop_.forget(socket_.get());
    socket_.close();
}

void TcpLink::fail(const std::string &why) {
    if (!socket_)
        return;
    close_socket();
    if (const auto call = calls_.on_close)
        call(why);
}

void TcpLink::read() {
    char buffer[1 << 16];
    const auto n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        return fail(n == 0 ? "closed by the other side" : std::strerror(errno)); // NOLINT(concurrency-mt-unsafe)
    reader_.add({buffer, static_cast<std::size_t>(n)});
    const auto alive = alive_;
    while (*alive && socket_) {
        auto next = reader_.next();
        if (!next)
            return fail(next.error().message);
        if (!*next)
            return;
        const auto call = calls_.on_frame;
        call(std::move(**next));
    }
}

void TcpLink::send(std::string_view payload) {
    if (!socket_)
        return;
    if (payload.size() > max_frame_bytes || out_.size() > max_unsent_bytes) {
        // Not from within the caller: it may not expect to be told now.
        loop_.post([this, alive = alive_] {
            if (*alive)
                fail("too much to send");
        });
        return;
    }
    out_ += frame(payload);
    flush();
}

void TcpLink::flush() {
    while (!out_.empty()) {
        const auto n = ::send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
        if (n > 0) {
            out_.erase(0, static_cast<std::size_t>(n));
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return; // reading says the same, and tells
        if (!std::exchange(writing_, true))
            loop_.when_writable(socket_.get(), [this, alive = alive_] {
                if (!*alive)
                    return;
                writing_ = false;
                flush();
            });
        return;
    }
}

std::string TcpLink::local_address() const { return socket_ ? local_address_of(socket_.get()) : ""; }

Result<Listener> listen_anywhere() {
    Listener out{bind_anywhere(), 0};
    if (!out.socket || ::listen(out.socket.get(), 1024) != 0)
        return errno_error(errno, "cannot listen for the agents", "");
    out.port = port_of(out.socket.get());
    return out;
}

std::optional<Fd> accept_one(int listener) {
    Fd socket{::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    return socket ? std::optional{std::move(socket)} : std::nullopt;
}

Result<Fd> begin_connect(const std::string &address, int port) { return connected_socket(address, port, SOCK_STREAM); }

std::string connect_error(int socket) {
    int code = 0;
    socklen_t size = sizeof code;
    ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size);
    return code == 0 ? "" : std::strerror(code); // NOLINT(concurrency-mt-unsafe)
}

std::vector<std::string> own_addresses() {
    std::vector<std::string> outside, loopback;
    ifaddrs *first = nullptr;
    if (::getifaddrs(&first) != 0)
        return {"127.0.0.1"};
    for (const ifaddrs *at = first; at != nullptr; at = at->ifa_next) {
        if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0)
            continue;
        sockaddr_storage address{};
        if (at->ifa_addr->sa_family == AF_INET)
            std::memcpy(&address, at->ifa_addr, sizeof(sockaddr_in));
        else if (at->ifa_addr->sa_family == AF_INET6)
            std::memcpy(&address, at->ifa_addr, sizeof(sockaddr_in6));
        else
            continue;
        const std::string text = address_text(address);
        if (text.rfind("fe80:", 0) != 0) // means nothing without its interface
            ((at->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : outside).push_back(text);
    }
    ::freeifaddrs(first);
    // IPv4 first: what every framework's rendezvous takes.
    const auto four = [](const std::string &text) { return text.find(':') == std::string::npos; };
    std::stable_partition(outside.begin(), outside.end(), four);
    std::stable_partition(loopback.begin(), loopback.end(), four);
    outside.insert(outside.end(), loopback.begin(), loopback.end());
    return outside;
}

std::string own_address_towards(const std::string &address) {
    const auto socket = connected_socket(address, 9, SOCK_DGRAM); // any port: connecting a datagram socket only picks the way
    return socket ? local_address_of(socket->get()) : "";
}

int free_port() {
    const Fd socket = bind_anywhere();
    return socket ? port_of(socket.get()) : 0;
}

} // namespace trainctl
