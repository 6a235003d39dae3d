// What follows from the state and the time alone, until a generation has ended.
#include "agent/head_machine.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration setup_limit = 2h;      // a setup may install things, but not for ever
constexpr Duration spare_wait = 30s;      // for the spares, once there are nodes enough without them
constexpr Duration settle = 2s;           // for nodes that are set up a moment after the others
constexpr Duration look_limit = 2500ms;   // agents give their tools 2 s
constexpr Duration evidence_limit = 10s;  // agents need 8 s at most

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

} // namespace

void HeadMachine::advance(Instant now, Actions &out) {
    if (phase_ != HeadPhase::killing && lease_.lost(now)) {
        ending_ = true;
        const auto why = "the head could not write its beat: " + (beat_error_.empty() ? std::string{"the file system did not answer"} : beat_error_);
        if (phase_ == HeadPhase::choosing || phase_ == HeadPhase::recruiting) {
            now_.kind = OutcomeKind::lease_lost;
            now_.text = why;
            finish(true, now, out);
        } else {
            begin_kill(OutcomeKind::lease_lost, why, now, out);
        }
    }
    find_lost(now, out);
    // A spare that came late, or a node that came back with another agent.
    if (phase_ > HeadPhase::starting && phase_ != HeadPhase::ended)
        if (const auto fresh = fleet_.to_set_up(); !fresh.empty()) {
            for (const auto &name : fresh)
                fleet_.find(name)->setup = FleetNode::Setup::asked;
            out.emplace_back(StartSetup{fresh});
        }
    switch (phase_) {
    case HeadPhase::starting: advance_starting(now, out); break;
    case HeadPhase::setup: advance_setup(now, out); break;
    case HeadPhase::training: advance_training(now, out); break;
    case HeadPhase::saving: advance_saving(now, out); break;
    case HeadPhase::choosing:
        if (now >= deadline_) {
            now_.text = "no checkpoint could be chosen in time: the file system did not answer";
            finish(true, now, out);
        }
        break;
    case HeadPhase::recruiting: advance_recruiting(now, out); break;
    case HeadPhase::killing:
    case HeadPhase::ended: break;
    }
    if (phase_ == HeadPhase::killing)
        advance_killing(now, out);
    beat(now, out);
}

void HeadMachine::find_lost(Instant now, Actions &out) {
    if (phase_ != HeadPhase::setup && !has_ranks())
        return;
    // In setup members are all that we could begin with.
    for (const auto &name : members_) {
        if (!fleet_.lost(name, now) || suspects_.count(name) != 0)
            continue;
        suspects_.insert(name);
        now_.lost.insert(name);
        const auto text = fleet_.silent(name, now)
                              ? fmt::format("nothing heard of node {} for {:.0f} s", name, seconds(now - fleet_.at(name).heard))
                              : fmt::format("the agent on node {} is gone", name);
        out.emplace_back(Note{"node_lost", text});
        const auto enough = static_cast<std::size_t>(config_.needed);
        if (phase_ == HeadPhase::setup && fleet_.connected().size() >= enough)
            continue; // a spare steps in
        begin_kill(OutcomeKind::node_lost, text, now, out);
    }
}

void HeadMachine::advance_starting(Instant now, Actions &out) {
    const auto here = fleet_.connected();
    const auto needed = static_cast<std::size_t>(config_.needed);
    if (here.size() >= needed && !enough_since_)
        enough_since_ = now;
    const bool late = now >= deadline_;
    if (agents_again_at_ && now >= *agents_again_at_ && !late) {
        agents_again_at_.reset();
        out.emplace_back(StartAgents{fleet_.absent()});
    }
    const bool enough = here.size() == config_.nodes.size() || (enough_since_ && (late || now - *enough_since_ >= spare_wait)) ||
                        (late && config_.min_nodes > 0 && here.size() >= static_cast<std::size_t>(config_.min_nodes));
    if (enough) {
        members_ = here;
        setup_since_ = now;
        enough_since_.reset();
        enter(HeadPhase::setup, now, now + setup_limit);
        for (const auto &name : here)
            fleet_.find(name)->setup = FleetNode::Setup::asked;
        out.emplace_back(StartSetup{here});
    } else if (late) {
        const auto missing = fleet_.absent();
        suspects_.insert(missing.begin(), missing.end());
        begin_kill(OutcomeKind::setup_failed, "no agent came up on " + join(missing, ", "), now, out);
    }
}

void HeadMachine::advance_setup(Instant now, Actions &out) {
    const auto ready = fleet_.ready(now);
    const auto needed = static_cast<std::size_t>(config_.needed);
    if (ready.size() >= needed && !enough_since_)
        enough_since_ = now;
    if (!fleet_.setting_up(now) || (enough_since_ && now - *enough_since_ >= settle)) {
        const bool shrunk = config_.min_nodes > 0 && ready.size() >= static_cast<std::size_t>(config_.min_nodes);
        if (ready.size() >= needed || shrunk) {
            setup_time_ = now - setup_since_;
            return start_generation(choose_members({}, ready, needed), now, out);
        }
    }
    if (now >= deadline_)
        begin_kill(OutcomeKind::setup_failed, "setup did not end within " + human_duration(setup_limit), now, out);
}

void HeadMachine::advance_training(Instant now, Actions &out) {
    if (now_.term_verdict_at && now >= *now_.term_verdict_at)
        return begin_kill(OutcomeKind::rank_failed, "", now, out);
    if (now_.save_only)
        advance_save_only(now, out);
    if (phase_ != HeadPhase::training)
        return;
    if (all_exited() && (!now_.first || now_.save_sent)) {
        const bool told_to_end = node_term_ && !done_training();
        const bool only_saved = now_.save_was_asked && (now_.first || !done_training());
        return begin_kill(told_to_end  ? OutcomeKind::terminated
                          : only_saved ? OutcomeKind::rank_failed
                                       : OutcomeKind::finished, "", now, out);
    }
    if (const auto at = stall_at(); at && now >= *at) {
        now_.stall_text = stall_.why(now);
        now_.evidence_by = now + evidence_limit;
        out.emplace_back(Note{"stalled", now_.stall_text});
        out.emplace_back(CollectEvidence{generation_});
    }
    if (now_.evidence_by && (now >= *now_.evidence_by || now_.evidence.size() >= members_.size())) {
        for (const auto &[node, text] : now_.evidence)
            out.emplace_back(Note{"evidence", node + ": " + text});
        begin_kill(OutcomeKind::hang, now_.stall_text, now, out);
    }
}

void HeadMachine::advance_saving(Instant now, Actions &out) {
    if (now_.baseline_by && now >= *now_.baseline_by) {
        now_.baseline_by.reset();
        send_save(now, out);
    }
    if (all_exited())
        begin_kill(!now_.first && done_training() ? OutcomeKind::finished : now_.kind, "", now, out);
    else if (now >= deadline_)
        begin_kill(now_.kind, "the ranks did not end in time", now, out);
}

// Until when it is waited for agents that look at their chips: what they see says which nodes to go on with.
std::optional<Instant> HeadMachine::look_end() const {
    const bool looking = std::any_of(now_.sights.begin(), now_.sights.end(), [this](const auto &seen) {
        return seen.second.looking && fleet_.at(seen.first).connected;
    });
    const Instant end = phase_since_ + look_limit;
    const bool waits = phase_ == HeadPhase::killing && config_.judged && !ending_ && looking && jumps_.last() < end;
    return waits ? std::optional{end} : std::nullopt;
}

void HeadMachine::advance_killing(Instant now, Actions &out) {
    bool all_dead = true, waiting = false;
    for (const auto &name : generation_ > 0 ? members_ : std::vector<std::string>{}) {
        auto &node = *fleet_.find(name);
        const bool dead = fleet_.ranks_dead(name, now);
        // A process in D state runs no code of its own any more, but its node is of no use.
        const bool doubtful = !dead && node.doubtful_generation >= generation_;
        if (doubtful && !std::exchange(node.bad, true)) {
            suspects_.insert(name);
            out.emplace_back(ReportNode{name, "a killed process does not die there"});
        }
        all_dead = all_dead && dead;
        waiting = waiting || (!dead && !doubtful);
    }
    waiting = waiting || look_end();
    if (!waiting || now >= deadline_)
        conclude(all_dead, !waiting, now, out);
}

void HeadMachine::beat(Instant now, Actions &out) {
    if (phase_ == HeadPhase::ended || beat_pending_ || now < beat_due_)
        return;
    beat_pending_ = true;
    out.emplace_back(WriteBeat{});
}

} // namespace trainctl
