// A connection between head and agent on a loop: frames out and in, without ever blocking. TCP is here, srun's standard
// streams are in srun_wire.h.
#pragma once

#include "agent/loop.h"
#include "agent/spawn.h"
#include "agent/wire.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

class Link {
public:
    struct Calls {
        std::function<void(std::string)> on_frame;
        std::function<void(std::string why)> on_close; // once; not for close() by ourselves
    };

    Link() = default;
    virtual ~Link() = default;
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;

    virtual void send(std::string_view payload) = 0; // after a failure nothing happens; on_close tells of it
    virtual void allow_large_frames() = 0;
    virtual void close() = 0;
    virtual std::string local_address() const = 0; // numeric; "" where the way has none
    virtual bool by_srun() const = 0;
};
// Makes a connection that somebody began; who is called owns it.
using MakeLink = std::function<std::unique_ptr<Link>(Link::Calls)>;

class TcpLink final : public Link {
public:
    TcpLink(Loop &loop, Fd socket, Calls calls);
    ~TcpLink() override;

    void send(std::string_view payload) override;
    void allow_large_frames() override { reader_.set_limit(max_frame_bytes); }
    void close() override { close_socket(); }
    std::string local_address() const override;
    bool by_srun() const override { return false; }

private:
    void close_socket();
    void read();
    void flush();
    void fail(const std::string &why);

    Loop &loop_;
    Fd socket_;
    Calls calls_;
    FrameReader reader_;
    std::string out_;
    bool writing_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // a call of ours may destroy us
};

// Listens on all addresses, any port.
struct Listener {
    Fd socket;
    int port = 0;
};
Result<Listener> listen_anywhere();
std::optional<Fd> accept_one(int listener);

// Begins to connect to a numeric address; when the socket is writable, connect_error() tells how it went ("": well).
Result<Fd> begin_connect(const std::string &address, int port);
std::string connect_error(int socket);

// The numeric addresses of this machine's interfaces that are up: loopback last.
std::vector<std::string> own_addresses();
// The one of them from which packets to `address` would go; sends none. "": there is no way.
std::string own_address_towards(const std::string &address);
// A TCP port that is free right now.
int free_port();

} // namespace trainctl
