// A small Slurm in memory with a clock of its own: a queue, nodes, dependencies, MinJobAge, late accounting, lost
// answers. It follows the real one where the protocol depends on it; tests drive it by advance() and by ending jobs.
#pragma once

#include "slurm/scheduler.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace trainctl {

class FakeSlurm final : public Scheduler {
public:
    struct Settings {
        int nodes = 8;                                         // n1 ... n<nodes>
        Duration cycle = std::chrono::seconds{1};              // from being startable to running
        Duration completing = std::chrono::seconds{0};         // from a running job's end to its final state
        Duration min_job_age = std::chrono::seconds{300};      // squeue forgets ended jobs after this
        Duration accounting_lag = std::chrono::seconds{5};     // sacct knows an end this much later
        bool accounting = true;
        bool forgets_dependencies = false; // before 23.02: a dependency on a forgotten job counts as satisfied
        std::uint32_t uid = 1000;
    };

    // What happens to the next call of one kind.
    enum class Fault {
        none,
        lost_request, // no effect, and the caller can't tell
        lost_answer,  // the effect, and the caller can't tell
        rejected,     // submit: a definite no, leaving a FAILED namesake; others: refused
    };

    struct Job {
        JobId id;
        std::string name, script_path, state = "PENDING", reason = "None", dependency;
        Environment environment;
        int nodes = 1, restarts = 0;
        JobPhase phase = JobPhase::pending;
        std::string final_state; // of a completing job
        std::optional<std::chrono::seconds> time_limit;
        std::set<std::string> excluded, allocated;
        std::optional<JobId> after_not_ok, after_any, after_ok;
        bool kill_on_invalid_dependency = false, held = false;
        int exit_code = 0, exit_signal = 0;
        std::optional<std::uint32_t> cancelled_by;
        WallTime submitted{}, startable{}, started{}, ended{};
    };

    struct Counters { int submits = 0, finds = 0, cancels = 0, signals = 0, updates = 0, starts = 0; };

    FakeSlurm() : FakeSlurm(Settings{}) {}
    explicit FakeSlurm(Settings settings);

    SubmitAnswer submit(const SubmitRequest &request) override;
    Result<Found> find(const std::vector<std::string> &names) override;
    Result<void> cancel(const std::vector<JobId> &ids) override;
    Result<void> signal_batch(JobId id, const std::string &signal) override;
    Result<void> update_pending(JobId id, const PendingUpdate &update) override;

    WallTime now() const { return now_; }
    void advance(Duration span); // in steps, so that jobs start and end at their own times

    // Ends of running jobs. finish: the batch script exits; cancelled and others as Slurm names them.
    void finish(JobId id, int exit_code);
    void end(JobId id, const std::string &final_state, int exit_signal = 0); // "TIMEOUT", "NODE_FAIL", "PREEMPTED", ...
    void requeue(JobId id); // the same id waits again, with a new submit time
    void fail_node(const std::string &node, bool ends_job);
    void recover_node(const std::string &node);

    // Faults.
    bool controller_down = false, accounting_down = false;
    Fault next_submit = Fault::none, next_cancel = Fault::none, next_update = Fault::none;
    std::string rejection = "sbatch: error: Batch job submission failed: Requested node configuration is not available";

    std::function<void(JobSighting &)> tells; // changes what find() shows of a job

    // Looking in.
    Counters counters;
    std::vector<std::pair<JobId, std::string>> signals;
    std::function<void(const Job &)> on_start; // called when a job gets its nodes
    const std::map<std::uint64_t, Job> &jobs() const { return jobs_; }
    const Job &job(JobId id) const;
    std::vector<JobId> running(const std::string &name) const;

private:
    Job &get(JobId id);
    Job read_options(const SubmitRequest &request) const;
    void schedule();
    bool dependency_allows(Job &job);
    void start(Job &job);
    void settle(Job &job, const std::string &state);
    bool in_queue(const Job &job) const;
    bool in_accounting(const Job &job) const;
    std::set<std::string> free_nodes(const Job &job) const;

    Settings settings_;
    WallTime now_ = from_unix_seconds(1'800'000'000);
    std::uint64_t next_id_ = 1;
    std::map<std::uint64_t, Job> jobs_;
    std::set<std::string> down_;
    std::vector<JobId> just_started_;
};

} // namespace trainctl
