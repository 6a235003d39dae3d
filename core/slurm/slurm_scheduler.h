// The Scheduler over Slurm's own commands. Not pure: each call runs one or a few of them, with a deadline each, in
// an environment made from scratch, so that no SQUEUE_FORMAT or SACCT_... of a user changes what they print.
#pragma once

#include "slurm/parse.h"
#include "slurm/scheduler.h"

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace trainctl {

// Where Slurm's commands are and what they need; noted before any code of the user runs.
struct SlurmTools {
    std::string sbatch, squeue, sacct, scontrol, scancel; // absolute paths; sacct is empty where there is none
    Environment environment;                              // for all but sbatch: PATH, SLURM_CONF, ...
    std::string user; // name or uid: ask for the jobs of this user only, much cheaper for the controller; empty: of all
};

// Looks them up in PATH of `environment` and keeps what they need of it. Error: not_found with a hint.
Result<SlurmTools> find_slurm_tools(const Environment &environment);

using CommandRunner = std::function<Result<CommandResult>(const Command &)>;

class SlurmScheduler final : public Scheduler {
public:
    explicit SlurmScheduler(SlurmTools tools, CommandRunner runner = run_command);

    SubmitAnswer submit(const SubmitRequest &request) override;
    // An error whenever squeue did not answer: without it, absence proves nothing. What sacct says of a job that squeue
    // does not list counts only where it ended: its records of living jobs may be stale for ever.
    // Exit codes of ended jobs that accounting did not give are read by scontrol, a few at most.
    Result<Found> find(const std::vector<std::string> &names) override;
    Result<void> cancel(const std::vector<JobId> &ids) override;
    Result<void> signal_batch(JobId id, const std::string &signal) override;
    // Refused, and not made, where fewer nodes of its partition would be left than it asks for: Slurm accepts that and
    // lets the job wait for ever, and shows it in the reason only when a dependency is over. The reason is read back.
    Result<void> update_pending(JobId id, const PendingUpdate &update) override;

    // A running job's time limit, from its start; users may lower their own.
    Result<void> limit_time(JobId id, std::chrono::minutes limit);
    // One job by its id (scontrol); nothing where Slurm has forgotten it.
    Result<std::optional<JobSighting>> job(JobId id);
    Result<std::vector<Partition>> partitions();
    Result<std::vector<NodeInfo>> nodes(const std::string &hostlist); // empty: all
    // Name -> NodeAddr of an allocation: names need not resolve, and need not be host names.
    Result<std::map<std::string, std::string>> node_addresses(const std::string &hostlist);

private:
    Result<CommandResult> ask(const std::string &tool, std::vector<std::string> arguments, Duration deadline);
    Result<std::vector<JobSighting>> ask_squeue(const std::vector<std::string> &names);
    Result<std::vector<JobSighting>> ask_sacct(const std::vector<std::string> &names);
    void add_exit_codes(std::vector<JobSighting> &jobs);
    Result<std::optional<Record>> job_record(JobId id);
    Result<void> leaves_enough_nodes(JobId id, const PendingUpdate &update);

    SlurmTools tools_;
    CommandRunner runner_;
    std::atomic<bool> accounting_off_{false}; // said once by sacct, to any thread; saves the call from then on
};

// What squeue and sacct said, as one list. squeue wins; sacct adds facts to ended jobs of the same id, name and
// submit time, and ended jobs that squeue has forgotten. Pure.
std::vector<JobSighting> merge_sightings(std::vector<JobSighting> squeue, const std::vector<JobSighting> &sacct);

} // namespace trainctl
