// The head of an attempt: starts the agents' step, has the nodes set up and the ranks run, keeps the lease and
// ends everything again. run_head() does the I/O; what it does when is decided by HeadMachine (head_machine.h).
#pragma once

#include "agent/sight.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/process.h"
#include "experiment/experiment.h"
#include "checkpoint/checkpoint.h"
#include "run/drill.h"
#include "run/records.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// Absolute paths, noted before any user code runs (a `module purge` in setup can drop them from PATH).
struct ToolPaths {
    std::string srun, sbatch, scontrol, scancel, squeue, sacct;
    std::string slurm_conf; // SLURM_CONF of the job; empty: the default one
};

struct HeadPlan {
    RunPaths paths;
    AttemptNo attempt;
    JobId job;
    Experiment experiment;
    RunInfo info;
    Environment secrets;              // for the ranks' environment only
    std::vector<std::string> nodes;   // of the allocation, expanded, without excluded ones
    ToolPaths tools;
    std::optional<CheckpointSeen> resume_from;
    std::optional<std::chrono::seconds> time_left; // to the job's time limit, when run_head is called
    std::string agent_program;        // what srun starts; empty: this very program
    bool expects_steps = false;       // an earlier attempt of the run showed some
    std::optional<Instant> lease_from; // the START of the last check that the attempt is ours; nothing: now
    std::uint64_t given_mib = 0;      // the job's memory on each node, as Slurm says; 0: it does not
    std::vector<Failure> earlier = {}; // of the run, since its newest complete checkpoint
    bool judged = false;              // hooks.choose_checkpoint says why it failed
};

// What the user asks of a run that trains: files under control/. A save is asked for once.
struct Wishes {
    EndWish end = EndWish::none;
    bool checkpoint_now = false;
    std::optional<DrillWish> drill; // taken once
};

// Why a generation (or the setup) ended, as its head saw it.
struct FailureFacts {
    int generation = 0;
    OutcomeKind kind = OutcomeKind::rank_failed;
    std::string text;
    std::optional<RankExit> first;    // to fail
    std::vector<RankExit> exits;      // of all ranks that ended by themselves
    std::vector<std::string> nodes, lost_nodes; // with ranks, in their order; of those
    std::optional<std::int64_t> step; // the last one heard of
    std::optional<std::int64_t> newest_before; // checkpoint: its step, when the last failure was judged
    std::vector<Failure> earlier;     // since that one
    bool drilled = false;             // somebody tried a fault on it: no node is to blame
    std::vector<Sight> sights = {};   // of nodes whose agents said what they saw
    std::optional<double> stepped_s = {}; // when the last step was heard of: seconds since the generation began
};
struct NextStart {
    std::optional<CheckpointSeen> checkpoint; // nothing: from the beginning
    std::optional<Failure> failure;           // nothing: nobody judges
};

// What the head needs of the run's protocol. All but `superseded` may block on a hanging file system: they are
// called from threads of run_head's own (one at a time each), and when they hang, still after it returned.
// So they own what they use (shared_ptr), and the process ends soon after.
struct HeadHooks {
    std::function<Result<void>(const ProgressFile &)> write_beat;
    std::function<bool()> superseded;   // a later attempt was claimed, or this one was sealed
    std::function<Wishes()> wishes;
    std::function<std::optional<CheckpointSeen>()> newest_checkpoint; // by names and sizes
    // Why it failed and what follows, and which checkpoint the next generation goes on from, by content too. All ranks are dead.
    std::function<Result<NextStart>(const FailureFacts &)> choose_checkpoint;
    std::function<void(std::string name, Json data)> journal;
};

// From the launch of the agents' step until every rank is dead or can't be reached. Called from the main thread
// with no other threads running; handles TERM, USR1 (the early signal) and USR2 (the doorbell) meanwhile.
Outcome run_head(const HeadPlan &plan, const HeadHooks &hooks);

} // namespace trainctl
