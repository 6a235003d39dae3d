// One TCP connection on a loop: frames out and in, without ever blocking. Owns its socket.
#pragma once

#include "agent/loop.h"
#include "agent/spawn.h"
#include "agent/wire.h"

#include <functional>
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

    Link(Loop &loop, Fd socket, Calls calls);
    ~Link();
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;

    void send(std::string_view payload); // after a failure nothing happens; on_close tells of it
    void allow_large_frames() { reader_.set_limit(max_frame_bytes); }
    void close();
    std::string local_address() const; // numeric

private:
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
// A TCP port that is free right now.
int free_port();

} // namespace trainctl
