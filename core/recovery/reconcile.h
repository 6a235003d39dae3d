// Brings a run back to where it should be: observe, decide, act, once. Any process that may call sbatch and see
// the run directory can do it, also several at once; the head does the same for its successor at its end.
#pragma once

#include "recovery/policy.h"
#include "run/protocol.h"

#include <functional>

namespace trainctl {

enum class RunState {
    starting,   // made; no job yet, or its submission is unclear
    pending,    // a job waits in the queue
    running,    // a job has an allocation
    finished,
    failed,
    stopped,
    unknown,    // Slurm does not answer, or not in words that we know: nothing is done
};
const char *to_string(RunState state);

struct Reconciled {
    RunState state = RunState::unknown;
    RunView run;
    std::vector<JobSighting> jobs;   // of this run, live and ended, that Slurm still knows
    std::string text;                // what was found and done, one sentence; empty: nothing to say
    std::optional<std::int64_t> unknown_since; // of an unknown state: when anything was known last, in Unix seconds
};

struct ReconcileRequest {
    Recovery recovery;
    ProtocolLimits limits;
    std::uint32_t own_uid = 0;
    bool act = true;                 // false: look, judge nothing, change nothing
    // Prepares the next attempt (see MakeRequest); not called when nothing is to be made.
    std::function<Result<SubmitRequest>(const MakeRequest &)> prepare;
};

Result<Reconciled> reconcile(World &world, const RunPaths &paths, const ReconcileRequest &request);

// ended.json, once; whoever is first decides how the run ended. The run's secrets are removed: nothing of it trains any
// more, and `resume` brings them anew.
Result<void> end_run(World &world, const RunPaths &paths, const Ended &ended);

// judge(), with what an agent wrote just before it cancelled the job: Slurm's word may be newer than `attempt`.
Result<Verdict> judge_anew(World &world, const RunPaths &paths, const AttemptView &attempt, const std::optional<JobSighting> &job, std::uint32_t own_uid);

// make_attempt(), and once more without `exclude_nodes` where it is refused with them: a suspicion ends no run.
Result<MadeAttempt> make_avoiding(World &world, const RunPaths &paths, MakeRequest request, const ProtocolLimits &limits);

// verdict.json, once.
Result<void> write_verdict(World &world, const RunPaths &paths, AttemptNo no, Verdict verdict);

// Names of all attempts' jobs that may still be known to Slurm: the last few (older ones are dead by the protocol).
std::vector<std::string> recent_job_names(const RunView &run, const RunId &id);

} // namespace trainctl
