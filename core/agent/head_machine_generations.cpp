// From one generation to the next, inside the allocation; and how the attempt ends.
#include "agent/head_machine.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration no_limit = 24h * 3650;
constexpr Duration choose_limit = 5min;   // checkpoints are hashed; a file system that hangs is given up
constexpr Duration recruit_limit = 20s;   // for lost nodes to come back, where no spare is there
constexpr Duration shrink_wait = 3s;      // for an agent that is just starting again
constexpr Duration surely_over = 5min;    // behind a limit: Slurm ends jobs within a minute
constexpr std::size_t most_failures_kept = 20; // the last ones decide
constexpr std::size_t most_signals = 20; // somebody rings all the time; the first ones tell
constexpr Duration worth_restarting = 30s;// of the time that is left to the limit
constexpr int do_not_restart_code = 93;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string how(const RankExit &exit) {
    const auto end = exit.signal != 0 ? fmt::format("was killed by signal {}", exit.signal)
                                      : fmt::format("exited with code {}", exit.exit_code);
    return fmt::format("rank {} on {} {}", exit.rank, exit.node, end);
}

std::string describe(OutcomeKind kind, const std::optional<RankExit> &first) {
    switch (kind) {
    case OutcomeKind::finished: return "every rank ended with 0";
    case OutcomeKind::rank_failed: return first ? how(*first) : "a rank failed";
    case OutcomeKind::node_lost: return "a node was lost";
    case OutcomeKind::hang: return "the training hung";
    case OutcomeKind::setup_failed: return "the setup failed";
    case OutcomeKind::time_limit: return "the time limit came near";
    case OutcomeKind::terminated: return "the job was told to end (SIGTERM)";
    case OutcomeKind::stopped: return "a stop was asked for";
    case OutcomeKind::do_not_restart: return (first ? how(*first) : "a rank") + ": the training asks not to be started again";
    case OutcomeKind::lease_lost: return "the lease was lost";
    }
    return "";
}

// `detail` is the whole sentence for what befell a node or the training, and comes after it for the rest.
std::string sentence(OutcomeKind kind, const std::optional<RankExit> &first, const std::string &detail) {
    const auto text = describe(kind, first);
    if (detail.empty() || detail == text)
        return text;
    const bool whole = kind == OutcomeKind::setup_failed || kind == OutcomeKind::node_lost || kind == OutcomeKind::hang;
    return whole ? detail : text + ": " + detail;
}

} // namespace

void HeadMachine::start_generation(std::vector<std::string> members, Instant now, Actions &out) {
    if (generation_ > 0 && members.size() != members_.size())
        out.emplace_back(Note{"nodes_changed", fmt::format("{} of {} nodes train", members.size(), config_.needed)});
    members_ = std::move(members);
    now_ = Current{};
    ++generation_;
    for (const auto &name : members_) {
        fleet_.find(name)->ranks_of = generation_;
        suspects_.erase(name); // it was lost, and is here again
    }
    training_since_ = now;
    enter(HeadPhase::training, now, now + no_limit);
    stall_.begin(now);
    out.emplace_back(StartGeneration{generation_, members_, generation_ > 1 ? chosen_ : std::nullopt});
}

bool HeadMachine::may_restart(Instant now) const {
    const bool mendable = now_.kind == OutcomeKind::rank_failed || now_.kind == OutcomeKind::node_lost || now_.kind == OutcomeKind::hang;
    // A job that lives on after its limit was given more time, or this node's clock is wrong.
    const bool extended = config_.limit && now - *config_.limit > surely_over;
    const bool time_left = !config_.limit || extended || *config_.limit - now > worth_restarting;
    return config_.in_place && mendable && !ending_ && !node_term_ && !now_.exit_93 && generation_ > 0 && time_left;
}

// `dead`: all ranks; `harmless`: those too that can't be killed but run no code any more.
void HeadMachine::conclude(bool dead, bool harmless, Instant now, Actions &out) {
    if (now_.stepped)
        out.emplace_back(Note{"last_step", fmt::format("generation {}: step {}, heard of {:.1f} s before its ranks were dead", generation_, *progress_.step, seconds(now - *now_.stepped)),
                              {{"generation", generation_}, {"step", *progress_.step}, {"ago_s", seconds(now - *now_.stepped)}}});
    if (generation_ > 0)
        out.emplace_back(GenerationEnded{generation_, now_.kind, sentence(now_.kind, now_.first, now_.text), now_.first,
                                         std::chrono::duration<double>(phase_since_ - training_since_).count()});
    now_.all_dead = dead;
    if (!harmless || (!may_restart(now) && !worth_judging()))
        return finish(dead, now, out);
    enter(HeadPhase::choosing, now, now + choose_limit);
    out.emplace_back(ChooseCheckpoint{failure_facts()});
}

// While nobody ends the job there is time to see why, for whoever goes on from here.
bool HeadMachine::worth_judging() const {
    const bool failed = now_.kind == OutcomeKind::rank_failed || now_.kind == OutcomeKind::node_lost || now_.kind == OutcomeKind::hang ||
                        now_.kind == OutcomeKind::setup_failed;
    const bool asked_for = now_.save_was_asked && now_.save_sent;
    return config_.judged && failed && !ending_ && !node_term_ && !now_.exit_93 && !asked_for;
}

FailureFacts HeadMachine::failure_facts() const {
    FailureFacts facts{generation_, now_.kind, sentence(now_.kind, now_.first, now_.text), now_.first, {}, generation_ > 0 ? members_ : std::vector<std::string>{}, {now_.lost.begin(), now_.lost.end()},
                       now_.stepped ? progress_.step : std::nullopt, failed_at_step_, history_, false};
    for (const auto &[rank, exit] : now_.exits)
        if (!exit.killed)
            facts.exits.push_back(exit);
    for (const auto &[node, sight] : now_.sights)
        facts.sights.push_back(sight);
    if (now_.stepped)
        facts.stepped_s = seconds(*now_.stepped - training_since_);
    return facts;
}

void HeadMachine::take_choice(const CheckpointChosen &in, Instant now, Actions &out) {
    if (phase_ != HeadPhase::choosing)
        return;
    if (!in.error.empty()) {
        now_.text = "the checkpoints can't be read: " + in.error;
        return finish(now_.all_dead, now, out);
    }
    chosen_ = in.newest;
    if (in.newest)
        checkpoint_ = in.newest;
    if (save_awaited())
        find_save(in.newest, now, out);
    last_failure_ = fmt::format("generation {}: {}", generation_, sentence(now_.kind, now_.first, now_.text));
    const bool newer = in.newest && (!failed_at_step_ || in.newest->step > *failed_at_step_);
    if (newer)
        failed_at_step_ = in.newest->step;
    const bool asked_for = now_.save_only && now_.save_sent && now_.kind == OutcomeKind::rank_failed;
    if (!asked_for)
        failures_ = newer ? 0 : failures_ + 1;
    if (newer)
        history_.clear();
    if (in.failure && !asked_for && !take_ruling(*in.failure, now, out))
        return finish(now_.all_dead, now, out);
    if (!may_restart(now) || failures_ >= config_.no_progress_max)
        return finish(now_.all_dead, now, out);
    agents_asked_ = false;
    enter(HeadPhase::recruiting, now, not_before_.value_or(now) + recruit_limit + setup_time_);
}

// False: not in this allocation.
bool HeadMachine::take_ruling(const Failure &failure, Instant now, Actions &out) {
    history_.push_back(failure);
    if (history_.size() > most_failures_kept)
        history_.erase(history_.begin());
    out.emplace_back(Note{"failure", failure.failure_class + ": " + to_string(failure.ruling) + ": " + failure.reason, to_json(failure)});
    for (const auto &name : failure.avoid) {
        if (auto *node = fleet_.find(name); node != nullptr && !std::exchange(node->bad, true))
            out.emplace_back(ReportNode{name, failure.what});
        suspects_.insert(name);
    }
    if (failure.ruling == RulingKind::restart_in_place)
        not_before_ = now + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(failure.wait_s));
    else
        now_.text += (now_.text.empty() ? "" : "; ") + failure.reason;
    return failure.ruling == RulingKind::restart_in_place;
}

void HeadMachine::advance_recruiting(Instant now, Actions &out) {
    if (not_before_ && now < *not_before_)
        return;
    not_before_.reset();
    const auto ready = fleet_.ready(now);
    const auto needed = static_cast<std::size_t>(config_.needed);
    if (ready.size() >= needed)
        return start_generation(choose_members(members_, ready, needed), now, out);
    const auto absent = fleet_.absent();
    if (!absent.empty() && !std::exchange(agents_asked_, true))
        out.emplace_back(StartAgents{absent});
    const bool may_shrink = config_.min_nodes > 0 && ready.size() >= static_cast<std::size_t>(config_.min_nodes);
    const bool late = now >= deadline_;
    if (may_shrink && (late || (!fleet_.setting_up(now) && now - phase_since_ >= shrink_wait)))
        return start_generation(choose_members(members_, ready, needed), now, out);
    // Absent, being set up, or back with another agent that has not said yet what became of the ranks.
    if (!late && fleet_.connected().size() + absent.size() > ready.size())
        return;
    now_.kind = OutcomeKind::node_lost;
    now_.text = fmt::format("{} of {} nodes are left{}", ready.size(), needed, now_.text.empty() ? "" : ": " + now_.text);
    finish(true, now, out);
}

void HeadMachine::finish(bool dead, Instant now, Actions &out) {
    out.emplace_back(Finish{outcome(dead, now)});
    phase_ = HeadPhase::ended;
}

// A setup that failed everywhere is no node's fault.
std::set<std::string> HeadMachine::suspect_nodes() const {
    auto out = suspects_;
    const auto with = [this](FleetNode::Setup setup) {
        std::set<std::string> names;
        for (const auto &name : fleet_.names())
            if (fleet_.at(name).setup == setup)
                names.insert(name);
        return names;
    };
    if (!with(FleetNode::Setup::ok).empty())
        out.merge(with(FleetNode::Setup::failed));
    return out;
}

void HeadMachine::note_signal(const std::string &name, Instant now) {
    if (signals_.size() >= most_signals)
        return;
    auto text = fmt::format("{} {:.1f} s after start", name, seconds(now - started_));
    if (config_.limit)
        text += fmt::format(", {:.0f} s to the limit", seconds(*config_.limit - now));
    signals_.push_back(std::move(text));
}

Outcome HeadMachine::outcome(bool dead, Instant now) const {
    Outcome out;
    const bool by_ranks = now_.kind == OutcomeKind::rank_failed || now_.kind == OutcomeKind::time_limit || now_.kind == OutcomeKind::stopped;
    out.kind = now_.exit_93 && by_ranks ? OutcomeKind::do_not_restart : now_.kind;
    out.text = sentence(out.kind, now_.first, now_.text);
    if (!now_.save_text.empty())
        out.text += "; " + now_.save_text;
    if (failures_ >= config_.no_progress_max)
        out.text += fmt::format("; {} failures in a row without a newer checkpoint", failures_);
    out.first = now_.first;
    if (out.kind == OutcomeKind::finished)
        out.exit_code = 0;
    else if (out.kind == OutcomeKind::do_not_restart)
        out.exit_code = do_not_restart_code;
    else if (out.kind == OutcomeKind::rank_failed && now_.first)
        out.exit_code = now_.first->signal != 0 ? 128 + now_.first->signal : now_.first->exit_code;
    else
        out.exit_code = 1;
    out.ranks_dead = dead;
    const auto suspects = suspect_nodes();
    out.suspect_nodes.assign(suspects.begin(), suspects.end());
    out.signals = signals_;
    if (checkpoint_) {
        out.checkpoint = checkpoint_->path;
        out.checkpoint_step = checkpoint_->step;
    }
    out.last_step = progress_.step;
    out.generations = generation_;
    out.failures = failures_;
    out.history = history_;
    const Duration setup = generation_ > 0 ? setup_time_ : now - setup_since_;
    if (!members_.empty())
        out.setup_s = std::chrono::duration_cast<std::chrono::seconds>(setup).count();
    out.training_s = std::chrono::duration_cast<std::chrono::seconds>(trained_).count();
    return out;
}

} // namespace trainctl
