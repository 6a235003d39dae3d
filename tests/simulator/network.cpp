#include "simulator/network.h"

#include <algorithm>
#include <utility>

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

Instant reachable_from(const Host &one, const Host &other) {
    if (&one == &other)
        return Instant{};
    return std::max({one.cut_until, one.net_until, other.cut_until, other.net_until});
}

} // namespace

bool reachable(const Host &one, const Host &other, Instant now) { return !one.dead && !other.dead && now >= reachable_from(one, other); }

void Wire::send(End from, Callback deliver) {
    if (!side(from).open)
        return;
    const End to = other(from);
    const Duration delay = loop_.chance(0.01) ? loop_.between(100ms, 3s) : loop_.between(200us, 20ms);
    side(to).last = std::max(side(to).last + 1us, loop_.now() + delay);
    loop_.at(side(to).last, [self = shared_from_this(), to, what = std::make_shared<Callback>(std::move(deliver))] { self->arrive(to, what); });
}

void Wire::arrive(End to, const std::shared_ptr<Callback> &deliver) {
    if (!side(to).open)
        return;
    // Sent again until it comes through.
    if (const Instant free = reachable_from(*hosts_[0], *hosts_[1]); loop_.now() < free) {
        side(to).last = std::max(side(to).last + 1us, free + 50ms);
        loop_.at(side(to).last, [self = shared_from_this(), to, deliver] { self->arrive(to, deliver); });
        return;
    }
    (*deliver)();
}

void Wire::close(End end) {
    if (!std::exchange(side(end).open, false))
        return;
    side(end).broken = nullptr;
    if (hosts_[static_cast<std::size_t>(end)]->dead)
        return; // nobody is left to say so
    break_at(other(end), std::max(loop_.now() + loop_.between(200us, 20ms), reachable_from(*hosts_[0], *hosts_[1])));
}

void Wire::cut() {
    for (const End end : {End::agent, End::head})
        break_at(end, loop_.now() + (loop_.chance(0.5) ? loop_.between(0ms, 50ms) : loop_.between(0s, 30s)));
}

void Wire::break_at(End end, Instant when) {
    loop_.at(when, [self = shared_from_this(), end] {
        auto &mine = self->side(end);
        if (!std::exchange(mine.open, false))
            return;
        if (const auto what = std::exchange(mine.broken, nullptr))
            what();
    });
}

} // namespace trainctl::sim
