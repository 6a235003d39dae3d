// A small Slurm in virtual time: a queue, nodes, dependencies, time limits, node failures, requeues, a controller
// that is silent now and then and forgets, and answers that get lost.
#pragma once

#include "simulator/disk.h"
#include "slurm/scheduler.h"

#include <algorithm>
#include <functional>
#include <map>

namespace trainctl::sim {

inline constexpr std::uint32_t own_uid = 1000;

struct Job {
    JobId id;
    std::string name, state = "PENDING", reason;
    JobPhase phase = JobPhase::pending;
    std::optional<JobId> after;  // afternotok, kill-on-invalid-dep
    int restarts = 0;
    Host *host = nullptr;        // of the batch script
    std::vector<Host *> nodes;   // of its allocation
    std::optional<Loop::ActorId> head;
    std::optional<std::uint32_t> cancelled_by;
    bool term_sent = false;      // scancel, time limit or preemption is on its way
    std::string end_state;       // what the job will show when it is gone
    Instant submitted{}, started{}, ended{};
    std::optional<Instant> limit;
};

class Slurm {
public:
    Slurm(Loop &loop, std::vector<Host *> hosts) : loop_(loop), hosts_(std::move(hosts)) {}

    // Set by the scenario: the batch script of a job; SIGTERM for a job's processes; SIGKILL for those on one node.
    std::function<void(Job &)> start_head;
    std::function<void(const Job &)> on_term;
    std::function<void(const Job &, Host &)> on_kill;
    int nodes_per_job = 1;
    bool says_who = true;                  // cancelled a job, as accounting does
    bool no_kill = true;                   // --no-kill is honoured: a job outlives its nodes
    bool keeps_headless = true;            // ... and that of its batch script too
    Instant silent_until{};                // the controller answers nobody
    double lost_answers = 0.0;             // probability that sbatch's answer is lost
    int max_jobs = 1000;                   // MaxSubmitJobs
    std::uint64_t sbatch_calls = 0, made = 0, twice = 0;

    JobId submit(const std::string &name, std::optional<JobId> after);
    void end(Job &job, const std::string &state);
    // TERM now, the end after KillWait.
    void terminate(Job &job, const std::string &end_state);
    // Dead; or cut off from everything for a while; or (cut_off for no time) only its slurmd is gone.
    void fail_node(Host &host, bool cut_off, Duration cut);
    void requeue(Job &job);
    bool usable(const Host &host) const { return !host.dead && loop_.now() >= std::max(host.cut_until, host.slurmd_until); }
    Job *find(JobId id);
    std::vector<Job *> live(const std::string &prefix);
    std::map<std::uint64_t, Job> jobs;

private:
    void schedule(JobId id);
    void start(JobId id);
    std::vector<Host *> allocate();
    void kill_processes(const Job &job);
    void notice_lost_node(JobId id, int restarts, Host &host);

    Loop &loop_;
    std::vector<Host *> hosts_;
    std::uint64_t next_id_ = 100;
};

// What one host's commands see.
class HostScheduler final : public Scheduler {
public:
    HostScheduler(Loop &loop, Slurm &slurm, Host &host) : loop_(loop), slurm_(slurm), host_(host) {}
    SubmitAnswer submit(const SubmitRequest &request) override;
    Result<Found> find(const std::vector<std::string> &names) override;
    Result<void> cancel(const std::vector<JobId> &ids) override;
    Result<void> signal_batch(JobId id, const std::string &signal) override;
    Result<void> update_pending(JobId id, const PendingUpdate &update) override;

private:
    bool silent();

    Loop &loop_;
    Slurm &slurm_;
    Host &host_;
};

class LoopClock final : public Clock {
public:
    explicit LoopClock(Loop &loop) : loop_(loop) {}
    Instant now() override { return loop_.now(); }
    WallTime wall() override { return WallTime{loop_.now().time_since_epoch()}; }
    void sleep_for(Duration duration) override { loop_.sleep(duration); }

private:
    Loop &loop_;
};

} // namespace trainctl::sim
