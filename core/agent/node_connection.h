// The agent's way to its head: finds it by head.json, tries each address, proves itself, and comes back after a
// broken connection until told to give up.
#pragma once

#include "agent/link.h"
#include "agent/messages.h"
#include "agent/node.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace trainctl {

class HeadConnection {
public:
    struct Calls {
        std::function<void()> on_connected;
        std::function<void(const Order &)> on_order;
        std::function<void(const std::string &)> log;
    };

    HeadConnection(Loop &loop, NodePlan plan, Calls calls);
    ~HeadConnection();

    void start();
    void stop();
    bool connected() const { return sealer_.has_value(); }
    void send(const Report &report);      // dropped while not connected: the next one says it all again
    std::string local_address() const;    // numeric, as the head sees us

private:
    void try_next();
    void retry();
    void connected_socket(Fd socket);
    void take_frame(const std::string &payload);
    bool read_address();

    Loop &loop_;
    NodePlan plan_;
    Calls calls_;
    std::optional<HeadAddress> head_;
    std::optional<AgentHandshake> handshake_;
    std::optional<Sealer> sealer_;
    std::unique_ptr<Link> link_;
    Fd connecting_;
    Loop::Timer timer_ = 0;
    std::size_t next_address_ = 0, failures_ = 0, tried_ = 0;
    std::string last_error_;
};

} // namespace trainctl
