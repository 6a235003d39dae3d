// The world of one schedule: a run with its desk, its heads and its nodes, what goes wrong there, and what the user wishes.
#pragma once

#include "recovery/attempt.h"
#include "recovery/reconcile.h"
#include "simulator/head_shell.h"
#include "simulator/scenario.h"

namespace trainctl::sim {

class Schedule {
public:
    Schedule(std::uint64_t seed, bool trace);
    ~Schedule();
    Findings run();

private:
    // schedule.cpp: the run's own programs.
    void draw_site();
    void draw_training();
    bool done();
    std::function<Result<SubmitRequest>(const MakeRequest &)> preparer();
    void spawn_desk(const std::string &name, Duration delay);
    void start_head(Job &job);
    void plan_limit(const Job &job);
    void notice_death(JobId id, int restarts);
    int head(JobId id, int restarts, Host &host);
    Outcome train(const Claimant &me, const TrainHooks &hooks, Host &host);
    HeadSetup head_setup(const Claimant &me);
    void check_choice(Instant from, const std::vector<int> &complete, const std::optional<CheckpointSeen> &choice);
    Failure judge(const Claimant &me, const FailureFacts &facts);
    void check_obeyed(const Claimant &me);
    void note(const std::string &text);
    void summarize();
    void check_end(const Ended &end);

    // faults.cpp: what befalls it.
    void plan_faults(Instant begin);
    void plan_wishes(Instant begin);
    void break_node(Host &host);
    void heal();
    void slurm_terms(const Job &job);
    void slurm_kills(const Job &job, Host &host);
    void stop();
    void cancel();
    void on_random_node(const std::function<void(Host &)> &what);
    void on_random_job(const std::function<void(Job &)> &what);
    void on_random_agent(const std::function<void(Agent &)> &what);
    std::size_t pick(std::size_t count);
    int times(int most) { return static_cast<int>(pick(static_cast<std::size_t>(most) + 1)); }
    static JobStart start_of(const Job &job);

    Findings findings_;
    const bool trace_;
    Loop loop_;
    Disk disk_;
    LoopClock clock_;
    Ledger ledger_;
    std::vector<std::unique_ptr<Host>> hosts_;
    Host login_;
    RunPaths paths_{"/r", RunId{"x"}};
    std::unique_ptr<Slurm> slurm_;
    std::unique_ptr<Checkpoints> checkpoints_;
    std::unique_ptr<Trade> trade_;
    std::unique_ptr<Agents> agents_;
    std::map<Loop::ActorId, std::weak_ptr<HeadShell>> shells_; // by the actor of their head
    ProtocolLimits limits_;
    Recovery recovery_;
    HeadConfig config_; // of every head, but for what its job says
    int spares_ = 0, keep_ = 0;
    double head_dies_ = 0, job_limited_ = 0;
    bool healthy_ = false, wants_stop_ = false, may_fail_ = false;
};

} // namespace trainctl::sim
