// The agent's way to its head: finds it by head.json, tries each address, and where none answers srun's streams; proves
// itself, and comes back after a broken connection until told to give up.
#pragma once

#include "agent/link.h"
#include "agent/messages.h"
#include "agent/node.h"
#include "agent/srun_wire.h"

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
    void try_tcp();
    void try_srun();
    void retry();
    bool srun_is_next() const;
    Link::Calls link_calls();
    void shake_hands(std::unique_ptr<Link> link, Duration limit);
    void take_frame(const std::string &payload);
    bool read_address();

    Loop &loop_;
    NodePlan plan_;
    Calls calls_;
    std::optional<HeadAddress> head_;
    std::optional<AgentHandshake> handshake_;
    std::optional<Sealer> sealer_;
    std::shared_ptr<SrunWire> wire_;  // none: by TCP only
    std::unique_ptr<Link> link_;
    Fd connecting_;
    Instant tcp_since_;               // tried again and again since then, for so long:
    Duration patience_ = std::chrono::seconds{6}; // three addresses may swallow what comes, two seconds each
    std::string trying_;              // the way, for people
    Loop::Timer timer_ = 0;
    std::size_t next_address_ = 0, failures_ = 0, tried_ = 0;
    std::string last_error_;
};

} // namespace trainctl
