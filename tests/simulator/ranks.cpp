#include "simulator/ranks.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

constexpr int term_signal = 15, kill_signal = 9;

} // namespace

Ranks::Ranks(Trade &trade, Training &training, Host &host, int node_rank)
    : trade_(trade), training_(training), host_(host), node_rank_(node_rank) {}

void Ranks::start(Instant lease_end, std::function<void()> on_change) {
    lease_end_ = lease_end;
    on_change_ = std::move(on_change);
    started_ = trade_.loop.now();
    running_ = true;
    trade_.ledger.started(training_.key());
    watch_lease();
    training_.join(shared_from_this(), node_rank_);
}

void Ranks::watch_lease() {
    trade_.loop.at(lease_end_, [self = shared_from_this()] {
        if (!self->running_)
            return;
        if (self->trade_.loop.now() >= self->lease_end_)
            self->kill();
        else
            self->watch_lease();
    });
}

// SIGKILL: dead in a moment; now and then one does not die, which runs no code all the same.
void Ranks::kill() {
    if (dead_ || std::exchange(killing_, true))
        return;
    auto &loop = trade_.loop;
    if (loop.chance(0.01)) {
        stop(false);
        loop.at(loop.now() + 5s, [self = shared_from_this()] {
            self->doubtful_ = !self->dead_;
            self->changed();
        });
        if (loop.chance(0.5))
            loop.at(loop.now() + loop.between(1s, 30s), [self = shared_from_this()] { self->stop(true); });
        return;
    }
    loop.at(loop.now() + loop.between(1ms, 400ms), [self = shared_from_this()] { self->stop(true); });
}

void Ranks::lost() { stop(true); }

void Ranks::stop(bool all_gone) {
    if (std::exchange(running_, false)) {
        died_ = trade_.loop.now();
        trade_.ledger.ended(training_.key());
    }
    if (!all_gone || std::exchange(dead_, true))
        return;
    for (int local = 0; local < trade_.setting.ranks_per_node; ++local)
        exit(local, 0, kill_signal);
    training_.member_failed(this);
    changed();
}

void Ranks::exit(int local_rank, int code, int signal) {
    trade_.note(fmt::format("generation {}: rank {}.{} on {} ends: {} {}", training_.key().generation, node_rank_, local_rank, host_.name, code, signal));
    const int rank = node_rank_ * trade_.setting.ranks_per_node + local_rank;
    if (std::any_of(exits_.begin(), exits_.end(), [&](const RankExit &known) { return known.rank == rank; }))
        return;
    RankExit out;
    out.rank = rank;
    out.local_rank = local_rank;
    out.node = host_.name;
    out.exit_code = code;
    out.signal = signal;
    out.at_s = std::chrono::duration<double>(trade_.loop.now() - started_).count();
    exits_.push_back(out);
    if (running_ && exits_.size() == static_cast<std::size_t>(trade_.setting.ranks_per_node)) {
        running_ = false;
        died_ = trade_.loop.now();
        trade_.ledger.ended(training_.key());
        dead_ = true;
    }
    if (code != 0 || signal != 0)
        training_.member_failed(this);
    changed();
}

void Ranks::save() {
    if (running_)
        training_.wish_save();
}

void Ranks::term() {
    if (!running_ || !trade_.setting.dies_of_term)
        return;
    trade_.loop.at(trade_.loop.now() + trade_.loop.between(1ms, 20ms), [self = shared_from_this()] {
        for (int local = 0; local < self->trade_.setting.ranks_per_node && self->running_; ++local)
            self->exit(local, 0, term_signal);
    });
}

std::optional<std::int64_t> Ranks::step() const { return training_.step(); }

int Ranks::generation() const { return training_.key().generation; }

void Ranks::changed() {
    if (on_change_)
        on_change_();
}

} // namespace trainctl::sim
