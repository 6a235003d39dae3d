// What the rest of trainctl wants of Slurm, and what it may know of a job. SlurmScheduler (slurm_scheduler.h)
// does it with Slurm's own commands; tests and the simulator have machines of their own.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/process.h"
#include "base/result.h"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace trainctl {

enum class JobPhase {
    pending,    // in the queue
    running,    // has an allocation: running, configuring, suspended, completing, ...
    ended,      // a terminal state, by positive evidence; nothing of it is being cleaned up any more
    unknown,    // Slurm lists it, in a state of a word that we don't know
};

// One job as Slurm told it. Ids come round again: it is our job only if the name is ours too.
struct JobSighting {
    JobId id;
    std::string name;
    JobPhase phase = JobPhase::unknown;
    std::string state;       // Slurm's own words without what follows: "RUNNING", "CANCELLED", "COMPLETING"
    std::string reason;      // "Priority", "PartitionTimeLimit", "JobLaunchFailure", ...
    std::optional<int> exit_code, exit_signal; // the two halves of ExitCode a:b
    std::optional<std::uint32_t> cancelled_by; // uid, where sacct says so
    int restarts = 0;
    std::string nodes;       // as Slurm writes it: "n[1-3]"
    std::string dependency;
    std::optional<WallTime> submitted, started, ended;
    std::string evidence;    // "squeue", "sacct", "scontrol"
};

struct Submitted { JobId id; std::string cluster; };
struct Rejected { std::string text; };      // Slurm said no: sbatch's own words
struct SubmitUnknown { std::string why; };  // the job may exist: look it up by name
using SubmitAnswer = std::variant<Submitted, Rejected, SubmitUnknown>;

struct SubmitRequest {
    std::vector<std::string> options; // every option that matters, as sbatch arguments; --job-name is among them
    std::string script_path;
    Environment environment;          // the whole environment for sbatch, and so for the job
};

// Changes to a pending job; empty fields stay as they are.
struct PendingUpdate {
    std::vector<std::string> exclude_nodes;
    std::optional<int> nodes;
};

class Scheduler {
public:
    virtual ~Scheduler() = default;

    virtual SubmitAnswer submit(const SubmitRequest &request) = 0;

    // Every job of these names that Slurm still knows, pending ones and long-ended ones alike (one squeue and at
    // most one sacct for all). An error when squeue did not answer: then nothing is known. `accounting` is false where
    // the cluster has none: then nobody will ever say who cancelled a job.
    struct Found { std::vector<JobSighting> jobs; bool accounting = false; };
    virtual Result<Found> find(const std::vector<std::string> &names) = 0;

    // Cancels; an id that Slurm has forgotten is fine. Callers look again afterwards.
    virtual Result<void> cancel(const std::vector<JobId> &ids) = 0;
    // Rings a running job's batch process (scancel -s SIGNAL -b).
    virtual Result<void> signal_batch(JobId id, const std::string &signal) = 0;
    virtual Result<void> update_pending(JobId id, const PendingUpdate &update) = 0;
};

} // namespace trainctl
