#include "agent/head_machine.h"

#include "slurm/answers.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// srun may wait for slow prologs; after this the nodes that are missing stay missing.
constexpr Duration start_limit = 5min;
constexpr Duration agents_again_after = 5s; // where srun did not reach Slurm's controller
// Agents give a process 5 s to die of SIGKILL; then some for the way.
constexpr Duration kill_limit = 10s;
// A TERM of Slurm's reaches all processes within 10 ms on a quiet machine.
constexpr Duration term_window = 2s;
// Slurm sends SIGKILL after KillWait, 30 s by default: the facts must be written before.
constexpr Duration term_grace = 20s, term_grace_without_save = 3s;
constexpr Duration tick_period = 1s, beat_retry = 1s;
constexpr std::size_t small_fleet = 128;   // up to which every message is looked at for itself
constexpr Duration look_pause_per_node = 10us;
constexpr int do_not_restart_code = 93;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
bool ended_well(const RankExit &exit) { return exit.exit_code == 0 && exit.signal == 0; }
bool died_of_term(const RankExit &exit) { return exit.signal == 15 || exit.exit_code == 128 + 15; }

template <class... Cases> struct Overload : Cases... { using Cases::operator()...; };
template <class... Cases> Overload(Cases...) -> Overload<Cases...>;

} // namespace

const char *to_string(HeadPhase phase) {
    switch (phase) {
    case HeadPhase::starting: return "starting";
    case HeadPhase::setup: return "setup";
    case HeadPhase::training: return "training";
    case HeadPhase::saving: return "saving";
    case HeadPhase::killing: return "ending";
    case HeadPhase::choosing:
    case HeadPhase::recruiting: return "restarting";
    case HeadPhase::ended: return "ended";
    }
    return "ended";
}

HeadMachine::HeadMachine(HeadConfig config, Instant now)
    : config_(std::move(config)), fleet_(config_.nodes, {config_.node_timeout, std::max<Duration>(config_.heartbeat, 1s)}, now), stall_(config_.stall),
      failed_at_step_(config_.resumed_step), history_(config_.earlier), jumps_(now), started_(now), phase_since_(now), deadline_(now + start_limit),
      beat_due_(now), setup_since_(now), training_since_(now) {
    INVARIANT(config_.needed > 0 && config_.ranks_per_node > 0);
    if (config_.nodes.size() > small_fleet)
        look_pause_ = look_pause_per_node * config_.nodes.size();
    // Whoever claimed this attempt wrote that down just now; without a first beat we must not train either.
    lease_.renew(config_.lease_from.value_or(now), config_.lease);
}

std::vector<HeadAction> HeadMachine::step(const HeadInput &input, Instant now) {
    Actions out;
    if (phase_ == HeadPhase::ended)
        return out;
    if (const Duration jump = jumps_.look(now); jump > Duration::zero())
        shift(jump);
    const HeadPhase before = phase_;
    take(input, now, out);
    unlooked_ = !may_look(input, now) && phase_ == before && out.empty();
    if (!unlooked_) {
        looked_ = now;
        advance(now, out);
    }
    return out;
}

bool HeadMachine::may_look(const HeadInput &input, Instant now) const {
    return !looked_ || now - *looked_ >= look_pause_ || std::holds_alternative<Tick>(input);
}

std::optional<Instant> HeadMachine::wake_at() const {
    if (phase_ == HeadPhase::ended)
        return std::nullopt;
    Instant next = std::min(jumps_.last() + tick_period, deadline_);
    if (!beat_pending_)
        next = std::min(next, beat_due_);
    if (unlooked_)
        next = std::min(next, *looked_ + look_pause_);
    const auto lease_end = phase_ == HeadPhase::killing ? std::nullopt : lease_.end(); // over or not: they are being killed
    for (const auto &at : {now_.term_verdict_at, now_.baseline_by, now_.evidence_by, lease_end, stall_at(), look_end(), not_before_, agents_again_at_})
        if (at)
            next = std::min(next, *at);
    return next;
}

void HeadMachine::shift(Duration by) {
    deadline_ += by;
    lease_.shift(by);
    fleet_.shift(by);
    stall_.shift(by);
    if (config_.limit)
        *config_.limit += by; // Slurm does not count it either
    for (auto *at : {&now_.term_verdict_at, &now_.baseline_by, &now_.evidence_by, &now_.saved_since, &now_.save_over, &enough_since_, &not_before_, &agents_again_at_})
        if (*at)
            **at += by;
    beat_due_ = jumps_.last(); // the outside must hear at once, and we whether somebody took over
}

void HeadMachine::enter(HeadPhase phase, Instant now, Instant deadline) {
    phase_ = phase;
    phase_since_ = now;
    deadline_ = deadline;
}

std::optional<Instant> HeadMachine::stall_at() const {
    if (phase_ != HeadPhase::training || now_.evidence_by)
        return std::nullopt;
    return done_training() || !now_.exits.empty() ? stall_.last_deadline() : stall_.deadline();
}

void HeadMachine::take(const HeadInput &input, Instant now, Actions &out) {
    const auto node_of = [this](const std::string &name) { return fleet_.find(name); };
    std::visit(
        Overload{
            [&](const NodeConnected &in) {
                if (auto *node = node_of(in.node)) {
                    node->connected = node->came = true;
                    node->heard = now;
                }
            },
            [&](const NodeClosed &in) {
                if (auto *node = node_of(in.node); node != nullptr && std::exchange(node->connected, false))
                    node->closed_at = now;
            },
            [&](const NodeHeard &in) {
                if (auto *node = node_of(in.node)) {
                    node->connected = node->came = true;
                    node->heard = now;
                }
            },
            [&](const NodeRenewed &in) {
                if (auto *node = node_of(in.node)) {
                    node->setup = FleetNode::Setup::none;
                    // It swept away what the one before left; whether it was our ranks it can't know.
                    if (phase_ == HeadPhase::training && is_member(in.node) && node->dead_generation < generation_)
                        begin_kill(OutcomeKind::node_lost, "the agent on node " + in.node + " died", now, out);
                }
            },
            [&](const SetupDone &in) { take_setup(in, now, out); },
            [&](const RankExited &in) { take_exit(in, now, out); },
            [&](const NodeRanksDead &in) {
                if (auto *node = node_of(in.node)) {
                    auto &known = in.confirmed ? node->dead_generation : node->doubtful_generation;
                    known = std::max(known, in.generation);
                }
            },
            [&](const NodeSaw &in) {
                if (in.sight.generation == generation_)
                    now_.sights[in.sight.node] = in.sight;
            },
            [&](const NodeTerm &in) {
                const bool first = !std::exchange(node_term_, true);
                if (first)
                    note_signal("TERM at the agent on " + in.node, now);
                // Slurm tells a preempted job's steps, and its batch script at the end of the grace only.
                const bool may_save = first && phase_ == HeadPhase::training && !config_.save_signal.empty();
                if (now_.term_verdict_at || may_save)
                    take_term(now, out);
            },
            [&](const ProgressSeen &in) { take_progress(in, now, out); },
            [&](const EvidenceDone &in) {
                if (in.generation == generation_ && now_.evidence_by)
                    now_.evidence[in.node] = in.text;
            },
            [&](const CheckpointPolled &in) { take_checkpoint(in, now, out); },
            [&](const CheckpointChosen &in) { take_choice(in, now, out); },
            [&](const StepEnded &in) {
                if (phase_ == HeadPhase::starting && controller_silent(in.text))
                    agents_again_at_ = now + agents_again_after;
                else if (phase_ == HeadPhase::starting)
                    begin_kill(OutcomeKind::setup_failed, "the agents' step ended" + (in.text.empty() ? "" : ": " + in.text), now, out);
                else
                    step_text_ = in.text; // those of its agents that are gone are missed by themselves
            },
            [&](const EarlySignal &) {
                if (config_.limit)
                    config_.limit = std::max(*config_.limit, now + config_.early_signal);
                note_signal("the early signal", now);
                // A training that can't save goes on until Slurm ends it.
                if (phase_ < HeadPhase::training || !config_.save_signal.empty())
                    wish_end(OutcomeKind::time_limit, now, out);
            },
            [&](const TermSignal &) {
                note_signal("TERM", now);
                take_term(now, out);
            },
            [&](const StopWish &in) {
                if (!in.save && (phase_ == HeadPhase::training || phase_ == HeadPhase::saving)) {
                    ending_ = true;
                    begin_kill(OutcomeKind::stopped, "", now, out);
                } else {
                    wish_end(OutcomeKind::stopped, now, out);
                }
            },
            [&](const SaveWish &) { wish_save(now, out); },
            [&](const WishesSeen &) {
                now_.wishes_known = true;
                send_save_when_known(now, out);
            },
            [&](const BeatWritten &in) {
                beat_pending_ = false;
                beat_due_ = in.started + config_.heartbeat;
                lease_.renew(in.started, config_.lease);
            },
            [&](const BeatFailed &in) {
                beat_pending_ = false;
                beat_due_ = now + beat_retry;
                beat_error_ = in.why;
            },
            [&](const Superseded &) {
                ending_ = true;
                begin_kill(OutcomeKind::lease_lost, "another attempt took over", now, out);
            },
            [](const Tick &) {},
        },
        input);
}

void HeadMachine::take_setup(const SetupDone &in, Instant now, Actions &out) {
    auto *node = fleet_.find(in.node);
    if (node == nullptr || node->setup == FleetNode::Setup::ok || node->setup == FleetNode::Setup::failed)
        return;
    node->setup = in.ok ? FleetNode::Setup::ok : FleetNode::Setup::failed;
    if (in.ok)
        return;
    node->bad = true;
    if (in.bad_node)
        suspects_.insert(in.node);
    const auto text = (in.bad_node ? "node " + in.node + " is not fit: " : "setup failed on " + in.node + ": ") + in.text;
    out.emplace_back(Note{in.bad_node ? "node_unfit" : "setup_failed", text});
    if (in.bad_node)
        out.emplace_back(ReportNode{in.node, in.text});
    if (phase_ != HeadPhase::setup)
        return;
    // Where others can do without it they do.
    const auto enough = static_cast<std::size_t>(config_.min_nodes > 0 ? std::min(config_.min_nodes, config_.needed) : config_.needed);
    if (fleet_.connected().size() < enough)
        begin_kill(OutcomeKind::setup_failed, text, now, out);
}

void HeadMachine::take_exit(const RankExited &in, Instant now, Actions &out) {
    if (in.generation != generation_ || !has_ranks() || now_.exits.count(in.exit.rank) != 0)
        return;
    now_.exits.emplace(in.exit.rank, in.exit);
    if (ended_well(in.exit))
        return;
    // Those that we killed ourselves are no failures. Nodes count from their own start of a generation, some milliseconds
    // apart, so that the time alone would not tell.
    const bool ours = phase_ == HeadPhase::killing && in.exit.signal == 9;
    if (now_.first ? !in.exit.killed && in.exit.at_s < now_.first->at_s : !ours)
        now_.first = in.exit;
    if (in.exit.exit_code == do_not_restart_code)
        now_.exit_93 = true;
    if (phase_ != HeadPhase::training || now_.term_verdict_at || now_.save_sent)
        return;
    if (died_of_term(in.exit)) {
        if (node_term_)
            take_term(now, out);
        else
            now_.term_verdict_at = now + term_window;
        return;
    }
    begin_kill(OutcomeKind::rank_failed, "", now, out);
}

void HeadMachine::take_term(Instant now, Actions &out) {
    ending_ = true;
    now_.term_verdict_at.reset();
    switch (phase_) {
    case HeadPhase::starting:
    case HeadPhase::setup:
        begin_kill(OutcomeKind::terminated, "the job was told to end before the training had started", now, out);
        return;
    case HeadPhase::training: {
        begin_save(OutcomeKind::terminated, now, out);
        deadline_ = now + (config_.save_signal.empty() ? term_grace_without_save : std::min(term_grace, config_.save_time));
        // Ranks that save on TERM got that from Slurm already.
        if (config_.save_signal.empty() || config_.save_signal == "TERM") {
            now_.baseline_by.reset();
        } else { // a user's `cancel` looks like this, too, and wants no save
            now_.wishes_known = false;
            out.emplace_back(LookAtWishes{});
        }
        return;
    }
    case HeadPhase::saving:
        if (now_.kind == OutcomeKind::time_limit)
            now_.kind = OutcomeKind::terminated;
        deadline_ = std::min(deadline_, now + term_grace);
        return;
    case HeadPhase::killing:
        // The first rank to break may have done so because Slurm had ended its peers.
        if ((now_.kind == OutcomeKind::rank_failed || now_.kind == OutcomeKind::finished) && !done_training() &&
            now - phase_since_ <= term_window) {
            now_.kind = OutcomeKind::terminated;
            now_.text.clear();
        }
        return;
    case HeadPhase::choosing:
    case HeadPhase::recruiting:
        if (now - phase_since_ <= term_window && now_.kind == OutcomeKind::rank_failed)
            now_.text.clear();
        now_.kind = OutcomeKind::terminated;
        finish(true, now, out);
        return;
    case HeadPhase::ended: return;
    }
}

void HeadMachine::take_progress(const ProgressSeen &in, Instant now, Actions &out) {
    const bool moved = in.step && in.step != progress_.step;
    const bool news = in.step || !in.activity.empty() || in.loss != progress_.loss || in.rate != progress_.rate;
    if (in.step && !now_.stepped)
        out.emplace_back(Note{"first_step", fmt::format("generation {}: step {}", generation_, *in.step), {{"generation", generation_}, {"step", *in.step}}});
    if (in.step && (moved || !now_.stepped))
        now_.stepped = now;
    if (in.step)
        progress_.step = in.step;
    if (in.loss)
        progress_.loss = in.loss;
    if (in.rate)
        progress_.rate = in.rate;
    progress_.activity = in.activity;
    if (news)
        stall_.progress(in.step, in.activity, now);
    if (moved && now_.evidence_by && phase_ == HeadPhase::training) {
        now_.evidence_by.reset();
        out.emplace_back(Note{"stall_over", "it went on by itself: " + now_.stall_text});
    }
}

// The training is to end, with a save where that is possible.
void HeadMachine::wish_end(OutcomeKind kind, Instant now, Actions &out) {
    ending_ = true;
    switch (phase_) {
    case HeadPhase::starting:
    case HeadPhase::setup: begin_kill(kind, "the training had not started yet", now, out); return;
    case HeadPhase::training:
        if (config_.save_signal.empty())
            begin_kill(kind, "", now, out);
        else
            begin_save(kind, now, out);
        return;
    case HeadPhase::saving:
        if (kind == OutcomeKind::stopped && now_.kind == OutcomeKind::time_limit)
            now_.kind = kind;
        return;
    case HeadPhase::killing: return; // it ends as it began to, and for good
    case HeadPhase::choosing:
    case HeadPhase::recruiting:
        now_.kind = kind;
        finish(true, now, out);
        return;
    case HeadPhase::ended: return;
    }
}

void HeadMachine::begin_kill(OutcomeKind kind, std::string text, Instant now, Actions &out) {
    if (!(phase_ < HeadPhase::killing))
        return;
    if (phase_ == HeadPhase::saving && now_.save_sent && now_.save_text.empty() && kind == now_.kind)
        now_.save_text = fmt::format("no newer checkpoint {:.0f} s after the save was asked for", seconds(now - *now_.saved_since));
    if (phase_ == HeadPhase::training || phase_ == HeadPhase::saving)
        trained_ += now - training_since_;
    now_.term_verdict_at.reset();
    now_.baseline_by.reset();
    now_.evidence_by.reset();
    now_.kind = kind;
    now_.text = std::move(text);
    // A lost node's ranks die when its lease ends; what comes next may need to know that they did.
    enter(HeadPhase::killing, now, now + (ending_ ? kill_limit : std::max<Duration>(kill_limit, config_.node_timeout + 2s)));
    if (generation_ > 0)
        out.emplace_back(KillRanks{generation_});
}

bool HeadMachine::is_member(const std::string &node) const {
    return std::find(members_.begin(), members_.end(), node) != members_.end();
}

bool HeadMachine::all_exited() const {
    return now_.exits.size() == members_.size() * static_cast<std::size_t>(config_.ranks_per_node);
}

bool HeadMachine::done_training() const {
    return config_.total_steps && progress_.step && *progress_.step >= *config_.total_steps;
}

} // namespace trainctl
