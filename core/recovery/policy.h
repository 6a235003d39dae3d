// What an ended attempt means for its run: why it ended (judge) and what comes next (decide_next). Pure.
#pragma once

#include "experiment/experiment.h"
#include "run/view.h"
#include "slurm/scheduler.h"

#include <set>
#include <string>
#include <variant>

namespace trainctl {

// Causes, as they stand in verdict.json and are shown to people.
namespace cause {
inline constexpr const char *finished = "finished";
inline constexpr const char *rank_failed = "rank failed";
inline constexpr const char *node_lost = "node lost";
inline constexpr const char *hang = "hang";
inline constexpr const char *setup_failed = "setup failed";
inline constexpr const char *time_limit = "time limit";
inline constexpr const char *preempted = "preempted";
inline constexpr const char *cancelled_by_user = "cancelled by user";
inline constexpr const char *cancelled_by_other = "cancelled by administrator";
inline constexpr const char *out_of_memory = "out of memory";
inline constexpr const char *head_lost = "head lost";
inline constexpr const char *launch_failed = "launch failed";
inline constexpr const char *do_not_restart = "do not restart";
inline constexpr const char *stopped = "stopped";
inline constexpr const char *standby_unneeded = "standby not needed";
inline constexpr const char *terminated = "terminated";
} // namespace cause

// Why an attempt ended, from its head's facts and Slurm's final word (nothing where Slurm has forgotten it).
Verdict judge(const AttemptView &attempt, const std::optional<JobSighting> &job, std::uint32_t own_uid);

// Slurm's final word is needed for the verdict: the head could not know it.
bool verdict_needs_slurm(const AttemptView &attempt);

// Who cancelled the job decides the verdict, and nobody has said it yet: accounting is seconds behind.
bool verdict_waits_for_who(const AttemptView &attempt, const JobSighting &job);

struct GoOn { std::vector<std::string> exclude_nodes; };
struct EndRun { EndKind kind; std::string why; };
// By the verdicts since the user's last `resume`, which forgives nodes as well.
std::set<std::string> avoided_nodes(const RunView &run);
EndRun end_by_wish(EndWish wish); // the words are the same whoever of all that see it ends the run
using NextStep = std::variant<GoOn, EndRun>;

// For a run whose last attempt has a verdict (or an outcome that needs none).
NextStep decide_next(const Recovery &recovery, const RunView &run);

// The failure that ended an attempt, as it was judged; nullptr where nobody did.
const Failure *failure_of(const AttemptView &attempt);

// The newest complete checkpoint that an attempt is known to have left.
std::optional<std::int64_t> checkpoint_step_of(const AttemptView &attempt);

} // namespace trainctl
