#include "agent/head_machine.h"

#include <algorithm>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// srun may wait for slow prologs; after this the nodes that are missing stay missing.
constexpr Duration start_limit = 5min;
// Agents give a process 5 s to die of SIGKILL; then some for the way.
constexpr Duration kill_limit = 10s;
// A TERM of Slurm's reaches all processes within 10 ms on a quiet machine.
constexpr Duration term_window = 2s;
// Slurm sends SIGKILL after KillWait, 30 s by default: the facts must be written before.
constexpr Duration term_grace = 20s, term_grace_without_save = 3s;
// Before the limit, for killing and writing.
constexpr Duration limit_margin = 10s;
// For looking what the newest checkpoint is before a save is asked for.
constexpr Duration baseline_limit = 1s;
constexpr Duration tick_period = 1s, beat_retry = 1s;
constexpr int do_not_restart_code = 93;

bool ended_well(const RankExit &exit) { return exit.exit_code == 0 && exit.signal == 0; }
bool died_of_term(const RankExit &exit) { return exit.signal == 15 || exit.exit_code == 128 + 15; }

} // namespace

const char *to_string(HeadPhase phase) {
    switch (phase) {
    case HeadPhase::starting: return "starting";
    case HeadPhase::setup: return "setup";
    case HeadPhase::training: return "training";
    case HeadPhase::saving: return "saving";
    case HeadPhase::killing: return "ending";
    case HeadPhase::ended: return "ended";
    }
    return "ended";
}

HeadMachine::HeadMachine(HeadConfig config, Instant now)
    : config_(std::move(config)), jumps_(now), started_(now), phase_since_(now), deadline_(now + start_limit),
      beat_due_(now), setup_since_(now), training_since_(now), training_until_(now) {
    INVARIANT(config_.needed > 0 && config_.ranks_per_node > 0);
    for (const auto &node : config_.nodes) {
        auto &state = nodes_[node];
        state.heard = state.closed_at = now;
    }
    // Whoever claimed this attempt wrote that down just now; without a first beat we must not train either.
    lease_.renew(config_.lease_from.value_or(now), config_.lease);
}

std::vector<HeadAction> HeadMachine::step(const HeadInput &input, Instant now) {
    Actions out;
    if (phase_ == HeadPhase::ended)
        return out;
    if (const Duration jump = jumps_.look(now); jump > Duration::zero())
        shift(jump);
    take(input, now, out);
    advance(now, out);
    return out;
}

std::optional<Instant> HeadMachine::wake_at() const {
    if (phase_ == HeadPhase::ended)
        return std::nullopt;
    Instant next = jumps_.last() + tick_period;
    next = std::min(next, deadline_);
    if (!beat_pending_)
        next = std::min(next, beat_due_);
    for (const auto &at : {term_verdict_at_, baseline_by_, lease_.end()})
        if (at)
            next = std::min(next, *at);
    return next;
}

void HeadMachine::shift(Duration by) {
    deadline_ += by;
    lease_.shift(by);
    if (config_.limit)
        *config_.limit += by; // Slurm does not count it either
    for (auto &[name, node] : nodes_) {
        node.heard += by;
        node.closed_at += by;
    }
    for (auto *at : {&term_verdict_at_, &baseline_by_})
        if (*at)
            **at += by;
    beat_due_ = jumps_.last(); // the outside must hear at once, and we whether somebody took over
}

void HeadMachine::take(const HeadInput &input, Instant now, Actions &out) {
    std::visit(
        [&](const auto &in) {
            using T = std::decay_t<decltype(in)>;
            if constexpr (std::is_same_v<T, NodeConnected> || std::is_same_v<T, NodeClosed> || std::is_same_v<T, NodeHeard>) {
                const auto found = nodes_.find(in.node);
                if (found == nodes_.end())
                    return;
                found->second.connected = !std::is_same_v<T, NodeClosed>;
                (found->second.connected ? found->second.heard : found->second.closed_at) = now;
            } else if constexpr (std::is_same_v<T, SetupDone>) {
                const auto found = nodes_.find(in.node);
                if (found == nodes_.end() || !is_member(in.node))
                    return;
                found->second.setup_ok = in.ok;
                if (!in.ok && phase_ == HeadPhase::setup) {
                    suspects_.insert(in.node);
                    begin_kill(OutcomeKind::setup_failed, "setup failed on " + in.node + ": " + in.text, now, out);
                }
            } else if constexpr (std::is_same_v<T, RankExited>) {
                take_exit(in, now, out);
            } else if constexpr (std::is_same_v<T, NodeRanksDead>) {
                const auto found = nodes_.find(in.node);
                if (found == nodes_.end())
                    return;
                auto &known = in.confirmed ? found->second.dead_generation : found->second.doubtful_generation;
                known = std::max(known, in.generation);
            } else if constexpr (std::is_same_v<T, NodeTerm>) {
                if (!node_term_)
                    note_signal("TERM at the agent on " + in.node, now);
                node_term_ = true;
                if (term_verdict_at_)
                    take_term(now, out);
            } else if constexpr (std::is_same_v<T, ProgressSeen>) {
                if (in.step)
                    progress_.step = in.step;
                if (in.loss)
                    progress_.loss = in.loss;
                if (in.rate)
                    progress_.rate = in.rate;
            } else if constexpr (std::is_same_v<T, CheckpointPolled>) {
                take_checkpoint(in, now, out);
            } else if constexpr (std::is_same_v<T, StepEnded>) {
                const bool starting = phase_ == HeadPhase::starting || phase_ == HeadPhase::setup;
                begin_kill(starting ? OutcomeKind::setup_failed : OutcomeKind::node_lost,
                           "the agents' step ended" + (in.text.empty() ? "" : ": " + in.text), now, out);
            } else if constexpr (std::is_same_v<T, EarlySignal>) {
                note_signal("the early signal", now);
                // A training that can't save goes on until Slurm ends it.
                if (phase_ < HeadPhase::training || !config_.save_signal.empty())
                    wish_end(OutcomeKind::time_limit, now, out);
            } else if constexpr (std::is_same_v<T, TermSignal>) {
                note_signal("TERM", now);
                take_term(now, out);
            } else if constexpr (std::is_same_v<T, StopWish>) {
                wish_end(OutcomeKind::stopped, now, out);
            } else if constexpr (std::is_same_v<T, BeatWritten>) {
                beat_pending_ = false;
                beat_due_ = in.started + config_.heartbeat;
                lease_.renew(in.started, config_.lease);
            } else if constexpr (std::is_same_v<T, BeatFailed>) {
                beat_pending_ = false;
                beat_due_ = now + beat_retry;
                beat_error_ = in.why;
            } else if constexpr (std::is_same_v<T, Superseded>) {
                begin_kill(OutcomeKind::lease_lost, "another attempt took over", now, out);
            }
        },
        input);
}

void HeadMachine::take_exit(const RankExited &in, Instant now, Actions &out) {
    if (in.generation != generation_ || phase_ < HeadPhase::training || exits_.count(in.exit.rank) != 0)
        return;
    exits_.emplace(in.exit.rank, in.exit);
    if (ended_well(in.exit))
        return;
    // Those that we killed ourselves are no failures, and died later than the one that made us.
    const bool ours = phase_ == HeadPhase::killing && in.exit.signal == 9;
    if (first_ ? in.exit.at_s < first_->at_s : !ours)
        first_ = in.exit;
    if (in.exit.exit_code == do_not_restart_code)
        exit_93_ = true;
    if (phase_ != HeadPhase::training || term_verdict_at_)
        return;
    if (died_of_term(in.exit)) {
        if (node_term_)
            take_term(now, out);
        else
            term_verdict_at_ = now + term_window;
        return;
    }
    begin_kill(OutcomeKind::rank_failed, "", now, out);
}

void HeadMachine::take_term(Instant now, Actions &out) {
    term_verdict_at_.reset();
    switch (phase_) {
    case HeadPhase::starting:
    case HeadPhase::setup:
        begin_kill(OutcomeKind::terminated, "the job was told to end before the training had started", now, out);
        return;
    case HeadPhase::training: {
        begin_save(OutcomeKind::terminated, now, out);
        deadline_ = now + (config_.save_signal.empty() ? term_grace_without_save : std::min(term_grace, config_.save_time));
        // Ranks that save on TERM got that from Slurm already.
        baseline_by_.reset();
        if (!config_.save_signal.empty() && config_.save_signal != "TERM")
            send_save(out);
        return;
    }
    case HeadPhase::saving:
        if (kind_ == OutcomeKind::time_limit)
            kind_ = OutcomeKind::terminated;
        deadline_ = std::min(deadline_, now + term_grace);
        return;
    case HeadPhase::killing:
        // The first rank to break may have done so because Slurm had ended its peers.
        if ((kind_ == OutcomeKind::rank_failed || kind_ == OutcomeKind::finished) && !done_training() &&
            now - phase_since_ <= term_window) {
            kind_ = OutcomeKind::terminated;
            text_.clear();
        }
        return;
    case HeadPhase::ended: return;
    }
}

void HeadMachine::take_checkpoint(const CheckpointPolled &in, Instant now, Actions &out) {
    if (in.newest)
        checkpoint_ = in.newest;
    if (phase_ != HeadPhase::saving)
        return;
    if (!save_baseline_) {
        save_baseline_ = true;
        baseline_ = in.newest;
        if (baseline_by_) {
            baseline_by_.reset();
            send_save(out);
        }
    } else if (save_sent_ && in.newest && (!baseline_ || in.newest->step > baseline_->step)) {
        begin_kill(kind_, "", now, out);
    }
}

// The training is to end, with a save where that is possible.
void HeadMachine::wish_end(OutcomeKind kind, Instant now, Actions &out) {
    if (phase_ == HeadPhase::starting || phase_ == HeadPhase::setup)
        begin_kill(kind, "the training had not started yet", now, out);
    else if (phase_ == HeadPhase::training && config_.save_signal.empty())
        begin_kill(kind, "", now, out);
    else if (phase_ == HeadPhase::training)
        begin_save(kind, now, out);
    else if (phase_ == HeadPhase::saving && kind == OutcomeKind::stopped && kind_ == OutcomeKind::time_limit)
        kind_ = kind;
}

void HeadMachine::begin_save(OutcomeKind kind, Instant now, Actions &out) {
    term_verdict_at_.reset();
    phase_ = HeadPhase::saving;
    phase_since_ = now;
    kind_ = kind;
    deadline_ = now + config_.save_time + baseline_limit;
    if (config_.limit)
        deadline_ = kind == OutcomeKind::time_limit ? std::max(now + 1s, *config_.limit - limit_margin)
                                                    : std::min(deadline_, *config_.limit - limit_margin);
    // What is complete before the save is asked for tells its checkpoint from one that was written anyway.
    baseline_by_ = now + baseline_limit;
    out.emplace_back(PollCheckpoint{});
}

void HeadMachine::send_save(Actions &out) {
    if (!std::exchange(save_sent_, true))
        out.emplace_back(SendSave{generation_, config_.save_signal});
}

void HeadMachine::begin_kill(OutcomeKind kind, std::string text, Instant now, Actions &out) {
    if (phase_ == HeadPhase::killing || phase_ == HeadPhase::ended)
        return;
    if (phase_ == HeadPhase::training || phase_ == HeadPhase::saving)
        training_until_ = now;
    term_verdict_at_.reset();
    baseline_by_.reset();
    phase_ = HeadPhase::killing;
    phase_since_ = now;
    kind_ = kind;
    text_ = std::move(text);
    deadline_ = now + kill_limit;
    if (generation_ > 0)
        out.emplace_back(KillRanks{generation_});
}

} // namespace trainctl
