#include "recovery/policy.h"

#include "base/text.h"
#include "slurm/hostlist.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

const char *cause_of(OutcomeKind kind) {
    switch (kind) {
    case OutcomeKind::finished: return cause::finished;
    case OutcomeKind::rank_failed: return cause::rank_failed;
    case OutcomeKind::node_lost: return cause::node_lost;
    case OutcomeKind::hang: return cause::hang;
    case OutcomeKind::setup_failed: return cause::setup_failed;
    case OutcomeKind::time_limit: return cause::time_limit;
    case OutcomeKind::terminated: return cause::terminated;
    case OutcomeKind::stopped: return cause::stopped;
    case OutcomeKind::do_not_restart: return cause::do_not_restart;
    case OutcomeKind::lease_lost: return cause::head_lost;
    }
    INVARIANT(false);
}

bool is_standby(const AttemptView &attempt) { return !attempt.intents.empty() && attempt.intents.back().after.has_value(); }

// A failed prolog shows CANCELLED, and only a job that got nodes runs one. By whose uid is no help: it may be root's, or
// SlurmUser's, which on a cluster of one's own is the user's. So what Slurm never began was not cancelled by people, but
// for one who did it in that very second.
bool never_launched(const AttemptView &attempt, const JobSighting &job) {
    return attempt.claims.empty() && job.started && !job.nodes.empty() && !attempt.head_began;
}

const char *cause_of_cancel(const AttemptView &attempt, const JobSighting &job, std::uint32_t own_uid) {
    if (attempt.abandoned && attempt.owner())
        return cause::node_lost;
    if (never_launched(attempt, job))
        return cause::launch_failed;
    // A job that must not train cancels itself, and nobody needs a standby of an attempt that goes on.
    if (job.cancelled_by == own_uid && !attempt.owner() && (attempt.sealed() || is_standby(attempt)))
        return cause::standby_unneeded;
    if (job.cancelled_by)
        return *job.cancelled_by == own_uid          ? cause::cancelled_by_user
               : attempt.owner() ? cause::cancelled_by_other : cause::launch_failed;
    if (attempt.owner())
        return cause::cancelled_by_user; // nobody says who; a job that trained is cancelled by people
    return is_standby(attempt) ? cause::standby_unneeded : cause::cancelled_by_user;
}

// Slurm's own word on a job that its head could not explain.
const char *cause_of_state(const AttemptView &attempt, const JobSighting &job, std::uint32_t own_uid) {
    const std::string &state = job.state;
    if (state == "CANCELLED")
        return cause_of_cancel(attempt, job, own_uid);
    if (state == "PREEMPTED")
        return cause::preempted;
    if (!attempt.owner())
        return cause::launch_failed;
    if (state == "TIMEOUT" || state == "DEADLINE")
        return cause::time_limit;
    if (state == "NODE_FAIL" || state == "BOOT_FAIL")
        return cause::node_lost;
    if (state == "OUT_OF_MEMORY")
        return cause::out_of_memory;
    return attempt.outcome ? cause::terminated : cause::head_lost;
}

// A failed prolog, or a script that slurmd could not start. Where there are several nodes only Slurm knows which one it
// was, and drains that one itself.
std::string node_that_launches_nothing(const JobSighting &job) {
    if (job.state != "CANCELLED" && job.state != "NODE_FAIL" && job.state != "BOOT_FAIL" && job.reason != "JobLaunchFailure")
        return "";
    const auto nodes = expand_hostlist(job.nodes);
    return job.started && nodes && nodes->size() == 1 ? nodes->front() : "";
}

std::string text_of(const std::string &why, const AttemptView &attempt, const std::optional<JobSighting> &job) {
    if (attempt.outcome && !attempt.outcome->text.empty())
        return attempt.outcome->text + (why == cause::terminated && !job ? "; Slurm has forgotten the job, and by whom" : "");
    if (!job)
        return why + "; Slurm has forgotten the job";
    const auto reason = job->reason.empty() || job->reason == "None" ? "" : ", " + job->reason;
    return fmt::format("{}: Slurm says {}{}", why, job->state, reason);
}

} // namespace

bool verdict_needs_slurm(const AttemptView &attempt) {
    return !attempt.outcome || attempt.outcome->kind == OutcomeKind::terminated ||
           attempt.outcome->kind == OutcomeKind::lease_lost;
}

bool verdict_waits_for_who(const AttemptView &attempt, const JobSighting &job) {
    if (job.state != "CANCELLED" || job.cancelled_by || never_launched(attempt, job))
        return false;
    return attempt.owner() ? !attempt.abandoned && verdict_needs_slurm(attempt) : !is_standby(attempt);
}

Verdict judge(const AttemptView &attempt, const std::optional<JobSighting> &job, std::uint32_t own_uid) {
    Verdict verdict;
    const bool by_slurm = verdict_needs_slurm(attempt);
    if (!by_slurm)
        verdict.cause = cause_of(attempt.outcome->kind);
    else if (job)
        verdict.cause = cause_of_state(attempt, *job, own_uid);
    else if (attempt.outcome && attempt.outcome->kind == OutcomeKind::terminated)
        verdict.cause = cause::terminated; // by whom is known to nobody any more
    else
        verdict.cause = attempt.owner() ? cause::head_lost : is_standby(attempt) ? cause::standby_unneeded : cause::launch_failed;
    verdict.text = text_of(verdict.cause, attempt, job);
    verdict.evidence = attempt.outcome ? "outcome.json" : "";
    if (job) {
        verdict.slurm_state = job->state;
        verdict.slurm_reason = job->reason;
        verdict.evidence += (verdict.evidence.empty() ? "" : ", ") + job->evidence;
    }
    if (attempt.outcome)
        verdict.exclude_nodes = attempt.outcome->suspect_nodes;
    // A job that lost another node goes on (--no-kill): NODE_FAIL speaks of the node of the batch script.
    if (by_slurm && job && job->state == "NODE_FAIL" && attempt.owner() && !attempt.owner()->host.empty())
        verdict.exclude_nodes.push_back(attempt.owner()->host);
    if (verdict.cause == cause::launch_failed && job)
        if (auto node = node_that_launches_nothing(*job); !node.empty())
            verdict.exclude_nodes.push_back(std::move(node));
    return verdict;
}

std::optional<std::int64_t> checkpoint_step_of(const AttemptView &attempt) {
    std::optional<std::int64_t> step;
    if (attempt.outcome)
        step = attempt.outcome->checkpoint_step;
    if (attempt.progress && attempt.progress->checkpoint_step)
        step = std::max(step.value_or(-1), *attempt.progress->checkpoint_step);
    return step;
}

namespace {

std::string cause_of(const AttemptView &attempt) {
    if (attempt.verdict)
        return attempt.verdict->cause;
    return attempt.outcome ? cause_of(attempt.outcome->kind) : "";
}

// Preemption and an administrator's cancel say nothing about the training; a standby that was not needed never ran.
bool counts_against_progress(const std::string &why) {
    return why != cause::preempted && why != cause::cancelled_by_other && why != cause::standby_unneeded;
}

std::string last_words(const AttemptView &attempt) {
    if (attempt.outcome && attempt.outcome->first && !attempt.outcome->first->last_lines.empty())
        return "; its last line: " + attempt.outcome->first->last_lines.back();
    return "";
}

struct Tally {
    int attempts = 0;       // that anybody claimed, or that failed to launch
    int no_progress = 0;    // in a row, at the end
    std::optional<std::int64_t> newest; // checkpoint step
};

// Attempts up to the user's last `resume` are forgiven, but their checkpoints are not forgotten.
Tally tally(const RunView &run) {
    Tally sum;
    for (const auto &attempt : run.attempts) {
        const auto why = cause_of(attempt);
        const auto step = checkpoint_step_of(attempt);
        const bool newer = step && (!sum.newest || *step > *sum.newest);
        if (newer)
            sum.newest = step;
        if (attempt.no <= run.forgiven || why.empty() || why == cause::standby_unneeded)
            continue;
        ++sum.attempts;
        // Restarts in place failed as well, and its head counted them.
        const int failures = attempt.outcome ? attempt.outcome->failures : 0;
        if (newer)
            sum.no_progress = failures;
        else if (counts_against_progress(why))
            sum.no_progress += std::max(1, failures);
    }
    return sum;
}

} // namespace

std::set<std::string> avoided_nodes(const RunView &run) {
    std::set<std::string> nodes;
    for (const auto &attempt : run.attempts)
        if (attempt.verdict && attempt.no > run.forgiven)
            nodes.insert(attempt.verdict->exclude_nodes.begin(), attempt.verdict->exclude_nodes.end());
    return nodes;
}

const Failure *failure_of(const AttemptView &attempt) {
    if (!attempt.outcome || attempt.outcome->history.empty())
        return nullptr;
    const auto &last = attempt.outcome->history.back();
    return last.attempt == attempt.no.value && last.generation == attempt.outcome->generations ? &last : nullptr;
}

EndRun end_by_wish(EndWish wish) {
    return {EndKind::stopped, wish == EndWish::cancel ? "cancelled by the user" : "stopped by the user"};
}

NextStep decide_next(const Recovery &recovery, const RunView &run) {
    INVARIANT(run.last() != nullptr);
    const AttemptView *last = run.last();
    const auto never_ran = [](const std::string &why) { return why.empty() || why == cause::standby_unneeded; };
    while (never_ran(cause_of(*last)) && last->no.value > 1)
        last = run.find(AttemptNo{last->no.value - 1});
    const Tally sum = tally(run);
    const auto avoided = avoided_nodes(run);
    const GoOn go_on{{avoided.begin(), avoided.end()}};
    if (last->no <= run.forgiven && !run.stop_wished()) // the user resumed it, whatever its end was
        return go_on;
    const auto why = cause_of(*last);
    if (why == cause::finished)
        return EndRun{EndKind::finished, "every rank ended with 0"};
    if (run.stop_wished())
        return end_by_wish(run.end_wish);
    if (why == cause::stopped || why == cause::cancelled_by_user)
        return EndRun{EndKind::stopped, why};
    if (why == cause::do_not_restart)
        return EndRun{EndKind::failed, "the training ended with exit code 93: do not restart"};
    if (const auto *failure = failure_of(*last); failure != nullptr && failure->ruling == RulingKind::stop)
        return EndRun{EndKind::failed, failure->what + (failure->what.empty() ? "" : " ") + "Stopped: " + failure->reason};
    if (sum.no_progress >= recovery.no_progress_max)
        return EndRun{EndKind::failed, fmt::format("{} in a row without a newer checkpoint (recovery.no_progress_max)"
                                                   "; the last one: {}{}", counted(sum.no_progress, "failure"), why, last_words(*last))};
    if (sum.attempts >= recovery.max_attempts)
        return EndRun{EndKind::failed, fmt::format("{} (recovery.max_attempts); the last one: {}{}",
                                                   counted(sum.attempts, "attempt"), why, last_words(*last))};
    return go_on;
}

} // namespace trainctl
