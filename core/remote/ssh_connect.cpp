#include "remote/ssh_link.h"

#include <arpa/inet.h>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace trainctl {

namespace {

struct Address {
    sockaddr_storage bytes{};
    socklen_t size = 0;
    int family = 0;
};

struct Lookup {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    int code = 0;
    std::vector<Address> addresses;
};

void resolve_into(Lookup &lookup, const std::string &host, int port, int flags) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    const std::lock_guard lock{lookup.mutex};
    lookup.code = code;
    for (const addrinfo *one = found; code == 0 && one != nullptr; one = one->ai_next) {
        Address address{{}, one->ai_addrlen, one->ai_family};
        std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
        lookup.addresses.push_back(address);
    }
    if (code == 0)
        ::freeaddrinfo(found);
    lookup.done = true;
    lookup.changed.notify_all();
}

// The resolver can't be interrupted: it works in a thread of its own, which is left alone when it is too slow.
Result<std::vector<Address>> resolve(const std::string &host, int port, const SshPatience &patience) {
    const auto lookup = std::make_shared<Lookup>();
    resolve_into(*lookup, host, port, AI_NUMERICHOST);
    if (lookup->code != 0) {
        lookup->done = false;
        std::thread{[lookup, host, port] { resolve_into(*lookup, host, port, AI_ADDRCONFIG); }}.detach();
    }
    std::unique_lock lock{lookup->mutex};
    while (!lookup->done) {
        const auto slice = patience.slice();
        if (!slice)
            return slice.error();
        lookup->changed.wait_for(lock, std::chrono::milliseconds{*slice});
    }
    if (lookup->code != 0)
        return Error{ErrorKind::unreachable, "cannot find the host " + host + ": " + ::gai_strerror(lookup->code),
                     patience.where, "check the name in the cluster's profile and HostName in the ssh config"};
    return lookup->addresses;
}

// A connected socket, or -1 with errno set; `give_up` limits this one address.
Result<int> connect_one(const Address &address, const SshPatience &patience, Instant give_up) {
    const int fd = ::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const auto fail = [fd](int code) {
        ::close(fd);
        errno = code;
        return -1;
    };
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd, reinterpret_cast<const sockaddr *>(&address.bytes), address.size) == 0)
        return fd;
    if (errno != EINPROGRESS)
        return fail(errno);
    for (;;) {
        const auto slice = patience.slice();
        if (!slice) {
            ::close(fd);
            return slice.error();
        }
        if (std::chrono::steady_clock::now() >= give_up)
            return fail(ETIMEDOUT);
        pollfd poll{fd, POLLOUT, 0};
        if (::poll(&poll, 1, *slice) <= 0)
            continue;
        int code = 0;
        socklen_t size = sizeof code;
        ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
        return code == 0 ? fd : fail(code);
    }
}

} // namespace

Result<int> connect_tcp(const std::string &host, int port, const SshPatience &patience) {
    const auto addresses = resolve(host, port, patience);
    if (!addresses)
        return addresses.error();
    int code = ENOENT;
    for (std::size_t i = 0; i < addresses->size(); ++i) {
        // One dead address must not use up the time of those after it.
        const auto now = std::chrono::steady_clock::now();
        const auto share = (patience.end - now) / static_cast<long>(addresses->size() - i);
        const auto fd = connect_one((*addresses)[i], patience, i + 1 == addresses->size() ? patience.end : now + share);
        if (!fd || *fd >= 0)
            return fd;
        code = errno;
    }
    return Error{ErrorKind::unreachable, std::string{"cannot connect: "} + std::strerror(code), patience.where,
                 code == ECONNREFUSED ? "no sshd listens there: check HostName and Port"
                                      : "check the network, a VPN, and HostName and Port in the ssh config"};
}

} // namespace trainctl
