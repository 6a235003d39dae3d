// What follows from the state and the time alone.
#include "agent/head_machine.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration setup_limit = 2h; // a setup may install things, but not for ever
constexpr Duration no_limit = 24h * 3650;
constexpr int do_not_restart_code = 93;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string how(const RankExit &exit) {
    const auto end = exit.signal != 0 ? fmt::format("was killed by signal {}", exit.signal)
                                      : fmt::format("exited with code {}", exit.exit_code);
    return fmt::format("rank {} on {} {}", exit.rank, exit.node, end);
}

} // namespace

void HeadMachine::advance(Instant now, Actions &out) {
    if (phase_ != HeadPhase::killing && lease_.lost(now)) {
        const auto why = beat_error_.empty() ? std::string{"the file system did not answer"} : beat_error_;
        begin_kill(OutcomeKind::lease_lost, "the head could not write its beat: " + why, now, out);
    }
    find_lost(now, out);
    switch (phase_) {
    case HeadPhase::starting:
    case HeadPhase::setup: advance_starting(now, out); break;
    case HeadPhase::training: advance_training(now, out); break;
    case HeadPhase::saving: advance_saving(now, out); break;
    case HeadPhase::killing:
    case HeadPhase::ended: break;
    }
    if (phase_ == HeadPhase::killing)
        advance_killing(now, out);
    beat(now, out);
}

// A node is lost when it is silent for a lease (its ranks are dead then), or when its connection was closed by the
// other side and it does not come back within a heartbeat: an agent that lives tries again at once.
void HeadMachine::find_lost(Instant now, Actions &out) {
    if (phase_ == HeadPhase::starting)
        return;
    const Duration grace = std::max<Duration>(config_.heartbeat, 1s);
    for (const auto &name : members_) {
        auto &node = nodes_.at(name);
        const bool silent = now - node.heard >= config_.lease;
        const bool gone = !node.connected && now - node.closed_at >= std::min(grace, config_.lease);
        node.lost = silent || gone;
        if (!node.lost || phase_ == HeadPhase::killing || phase_ == HeadPhase::ended)
            continue;
        suspects_.insert(name);
        begin_kill(OutcomeKind::node_lost, silent ? fmt::format("nothing heard of node {} for {:.0f} s", name, seconds(now - node.heard))
                                                  : fmt::format("the agent on node {} is gone", name), now, out);
    }
}

void HeadMachine::advance_starting(Instant now, Actions &out) {
    if (phase_ == HeadPhase::starting) {
        std::vector<std::string> here, missing;
        for (const auto &name : config_.nodes)
            (nodes_.at(name).connected ? here : missing).push_back(name);
        const auto needed = static_cast<std::size_t>(config_.needed);
        if (here.size() >= needed && (missing.empty() || now >= deadline_)) {
            here.resize(needed);
            members_ = here;
            phase_ = HeadPhase::setup;
            phase_since_ = setup_since_ = now;
            deadline_ = now + setup_limit;
            out.emplace_back(StartSetup{members_});
        } else if (now >= deadline_) {
            suspects_.insert(missing.begin(), missing.end());
            begin_kill(OutcomeKind::setup_failed, "no agent came up on " + join(missing, ", "), now, out);
        }
        return;
    }
    const bool ready = std::all_of(members_.begin(), members_.end(), [&](const auto &n) { return nodes_.at(n).setup_ok; });
    if (ready) {
        phase_ = HeadPhase::training;
        phase_since_ = training_since_ = now;
        deadline_ = now + no_limit;
        exits_.clear();
        out.emplace_back(StartGeneration{++generation_, members_});
    } else if (now >= deadline_) {
        begin_kill(OutcomeKind::setup_failed, "setup did not end within " + human_duration(setup_limit), now, out);
    }
}

bool HeadMachine::all_exited() const {
    return exits_.size() == members_.size() * static_cast<std::size_t>(config_.ranks_per_node);
}

bool HeadMachine::done_training() const {
    return config_.total_steps && progress_.step && *progress_.step >= *config_.total_steps;
}

void HeadMachine::advance_training(Instant now, Actions &out) {
    if (term_verdict_at_ && now >= *term_verdict_at_) {
        begin_kill(OutcomeKind::rank_failed, "", now, out);
    } else if (all_exited() && !first_) {
        const bool told_to_end = node_term_ && !done_training();
        begin_kill(told_to_end ? OutcomeKind::terminated : OutcomeKind::finished, "", now, out);
    }
}

void HeadMachine::advance_saving(Instant now, Actions &out) {
    if (baseline_by_ && now >= *baseline_by_) {
        baseline_by_.reset();
        send_save(out);
    }
    if (all_exited())
        begin_kill(!first_ && done_training() ? OutcomeKind::finished : kind_, "", now, out);
    else if (now >= deadline_)
        begin_kill(kind_, "the ranks did not end in time", now, out);
}

void HeadMachine::advance_killing(Instant now, Actions &out) {
    bool all_dead = true, waiting = false;
    if (generation_ > 0) {
        for (const auto &name : members_) {
            auto &node = nodes_.at(name);
            const bool dead = node.dead_generation >= generation_;
            const bool doubtful = !dead && node.doubtful_generation >= generation_;
            if (doubtful)
                suspects_.insert(name);
            all_dead = all_dead && dead;
            waiting = waiting || (!dead && !doubtful && !node.lost);
        }
    }
    if (waiting && now < deadline_)
        return;
    out.emplace_back(Finish{outcome(all_dead, now)});
    phase_ = HeadPhase::ended;
}

void HeadMachine::beat(Instant now, Actions &out) {
    if (phase_ == HeadPhase::ended || beat_pending_ || now < beat_due_)
        return;
    beat_pending_ = true;
    out.emplace_back(WriteBeat{});
}

void HeadMachine::note_signal(const std::string &name, Instant now) {
    if (signals_.size() >= 20) // somebody rings all the time; the first ones tell
        return;
    auto text = fmt::format("{} {:.1f} s after start", name, seconds(now - started_));
    if (config_.limit)
        text += fmt::format(", {:.0f} s to the limit", seconds(*config_.limit - now));
    signals_.push_back(std::move(text));
}

bool HeadMachine::is_member(const std::string &node) const {
    return std::find(members_.begin(), members_.end(), node) != members_.end();
}

Outcome HeadMachine::outcome(bool dead, Instant now) const {
    const auto describe = [&](OutcomeKind kind) -> std::string {
        switch (kind) {
        case OutcomeKind::finished: return "every rank ended with 0";
        case OutcomeKind::rank_failed: return first_ ? how(*first_) : "a rank failed";
        case OutcomeKind::node_lost: return "a node was lost";
        case OutcomeKind::setup_failed: return "the setup failed";
        case OutcomeKind::time_limit: return "the time limit came near";
        case OutcomeKind::terminated: return "the job was told to end (SIGTERM)";
        case OutcomeKind::stopped: return "a stop was asked for";
        case OutcomeKind::do_not_restart: return (first_ ? how(*first_) : "a rank") + ": the training asks not to be started again";
        case OutcomeKind::lease_lost: return "the lease was lost";
        }
        return "";
    };
    Outcome out;
    const bool by_ranks = kind_ == OutcomeKind::rank_failed || kind_ == OutcomeKind::time_limit || kind_ == OutcomeKind::stopped;
    out.kind = exit_93_ && by_ranks ? OutcomeKind::do_not_restart : kind_;
    out.text = describe(out.kind);
    if (!text_.empty() && text_ != out.text)
        out.text = out.kind == OutcomeKind::setup_failed || out.kind == OutcomeKind::node_lost ? text_ : out.text + ": " + text_;
    out.first = first_;
    if (out.kind == OutcomeKind::finished)
        out.exit_code = 0;
    else if (out.kind == OutcomeKind::do_not_restart)
        out.exit_code = do_not_restart_code;
    else if (out.kind == OutcomeKind::rank_failed && first_)
        out.exit_code = first_->signal != 0 ? 128 + first_->signal : first_->exit_code;
    else
        out.exit_code = 1;
    out.ranks_dead = dead;
    out.suspect_nodes.assign(suspects_.begin(), suspects_.end());
    out.signals = signals_;
    if (checkpoint_) {
        out.checkpoint = checkpoint_->path;
        out.checkpoint_step = checkpoint_->step;
    }
    out.last_step = progress_.step;
    const Instant setup_end = generation_ > 0 ? training_since_ : now;
    if (!members_.empty())
        out.setup_s = std::chrono::duration_cast<std::chrono::seconds>(setup_end - setup_since_).count();
    if (generation_ > 0)
        out.training_s = std::chrono::duration_cast<std::chrono::seconds>(training_until_ - training_since_).count();
    return out;
}

} // namespace trainctl
