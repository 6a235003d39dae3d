// The connections between agents and heads: ordered, late, held up while a node is cut off, and broken at bad moments.
// What one end sends arrives once or never; each end learns of a break on its own, sooner or later.
#pragma once

#include "simulator/disk.h"

#include <functional>
#include <memory>

namespace trainctl::sim {

bool reachable(const Host &one, const Host &other, Instant now);

class Wire : public std::enable_shared_from_this<Wire> {
public:
    enum class End { agent, head };
    using Callback = std::function<void()>;

    Wire(Loop &loop, Host &agent, Host &head) : loop_(loop), hosts_{&agent, &head} {}

    // Called when the other end closed or broke; once, and never after close().
    void on_broken(End end, Callback what) { side(end).broken = std::move(what); }
    // `deliver` is called at the other end when the message arrives there.
    void send(End from, Callback deliver);
    // This end is gone: the other one hears of it when it can.
    void close(End end);
    // Cut by something in between.
    void cut();

private:
    struct Side {
        bool open = true;
        Instant last{}; // arrival of the newest message for it
        Callback broken;
    };
    Side &side(End end) { return sides_[static_cast<std::size_t>(end)]; }
    static End other(End end) { return end == End::agent ? End::head : End::agent; }
    void arrive(End to, const std::shared_ptr<Callback> &deliver);
    void break_at(End end, Instant when);

    Loop &loop_;
    Host *hosts_[2];
    Side sides_[2];
};

} // namespace trainctl::sim
