#include "simulator/scenario.h"

#include "recovery/attempt.h"
#include "recovery/reconcile.h"
#include "simulator/slurm.h"

#include <fmt/format.h>
#include <tuple>

namespace trainctl::sim {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t uid = 1000;
constexpr Duration chaos_time = 1h;      // faults happen in the first virtual hour
constexpr Duration quiet_time = 12h;     // and then there is time to finish
constexpr int steps_to_train = 1000;

// The processes that train: who runs them, and until when they may live on without their head.
class Ranks {
public:
    explicit Ranks(Loop &loop, std::vector<std::string> &broken) : loop_(loop), broken_(broken) {}

    void start(const Claimant &me, Instant until) {
        for (const auto &[other, other_until] : alive_)
            if (other != key(me) && other_until > loop_.now())
                broken_.push_back(fmt::format("{:.3f}: two sets of ranks: {} starts while {} may live for {:.3f} s",
                                              seconds(loop_.now().time_since_epoch()), text(key(me)), text(other),
                                              seconds(other_until - loop_.now())));
        if (stopped_ && *stopped_ < loop_.now())
            broken_.push_back("ranks start after the run was reported as stopped");
        alive_[key(me)] = until;
        ++starts;
    }
    void extend(const Claimant &me, Instant until) {
        if (const auto at = alive_.find(key(me)); at != alive_.end()) {
            for (const auto &[other, other_until] : alive_)
                if (other != key(me) && other_until > loop_.now())
                    broken_.push_back("ranks go on although " + text(other) + " trains: " + text(key(me)));
            at->second = until;
        }
    }
    void dead(const Claimant &me) { alive_.erase(key(me)); }
    void report_stopped() { stopped_ = loop_.now(); }
    int starts = 0;

private:
    using Key = std::tuple<int, std::uint64_t, int>;
    static Key key(const Claimant &me) { return {me.no.value, me.job.value, me.restarts}; }
    static std::string text(const Key &key) {
        return fmt::format("attempt {} job {}.{}", std::get<0>(key), std::get<1>(key), std::get<2>(key));
    }
    static double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

    Loop &loop_;
    std::vector<std::string> &broken_;
    std::map<Key, Instant> alive_;
    std::optional<Instant> stopped_;
};

class Scenario {
public:
    explicit Scenario(std::uint64_t seed)
        : loop_(seed), disk_(loop_, loop_.chance(0.5) ? loop_.between(1s, 60s) : 0s), clock_(loop_), ranks_(loop_, findings_.broken) {
        for (int i = 0; i < 4; ++i)
            hosts_.push_back(std::make_unique<Host>());
        for (std::size_t i = 0; i < hosts_.size(); ++i)
            hosts_[i]->name = "n" + std::to_string(i + 1);
        login_.name = "login1";
        std::vector<Host *> nodes;
        for (const auto &host : hosts_)
            nodes.push_back(host.get());
        slurm_ = std::make_unique<Slurm>(loop_, nodes);
        slurm_->start_head = [this](Job &job) { start_head(job); };
        slurm_->lost_answers = loop_.chance(0.5) ? 0.3 : 0.0;
        if (loop_.chance(0.15))
            slurm_->max_jobs = 1; // standbys are refused
        limits_.lease = loop_.chance(0.5) ? 30s : loop_.between(15s, 400s);
        recovery_.no_progress_max = 1000; // faults here are the cluster's: giving up is tested elsewhere
        recovery_.max_attempts = 1000;
        wants_stop_ = loop_.chance(0.15);
        for (const auto *folder : {"/r", "/r/runs", "/r/runs/x", "/r/runs/x/attempts", "/r/runs/x/control"})
            disk_.folders.insert(folder);
    }

    Findings run() {
        const Instant begin = loop_.now();
        spawn_desk("submit", 0s);
        plan_faults(begin);
        loop_.run_until(begin + chaos_time);
        // Everything works again; somebody looks after the run now and then.
        healthy_ = true;
        slurm_->max_jobs = 1000;
        slurm_->lost_answers = 0;
        for (Instant at = loop_.now(); at < begin + chaos_time + quiet_time && !done(); at += 10min) {
            spawn_desk("watch", 0s);
            loop_.run_until(at + 10min);
        }
        summarize();
        return findings_;
    }

private:
    bool done() {
        return disk_.files.contains(paths_.file("ended.json")) && slurm_->live("tc-x-").empty();
    }

    std::function<Result<SubmitRequest>(const MakeRequest &)> preparer() {
        return [this](const MakeRequest &request) -> Result<SubmitRequest> {
            SubmitRequest submit;
            submit.options.push_back("--job-name=" + job_name(paths_.run, request.no));
            if (request.after)
                submit.options.push_back("--dependency=afternotok:" + to_string(*request.after));
            return submit;
        };
    }

    // `submit`, `resume`, `watch`: all of them reconcile. They run on the login node and die now and then.
    void spawn_desk(const std::string &name, Duration delay) {
        loop_.at(loop_.now() + delay, [this, name] {
            const auto id = loop_.spawn(name, [this, name] {
                HostFiles files{loop_, disk_, login_};
                HostScheduler scheduler{loop_, *slurm_, login_};
                World world{files, scheduler, clock_, name};
                auto result = reconcile(world, paths_, {recovery_, limits_, uid, true, preparer()});
                if (result && result->state == RunState::stopped && wants_stop_)
                    note("desk saw the end");
            });
            if (!healthy_ && loop_.chance(0.5))
                loop_.plan_death(id, static_cast<int>(loop_.between(Duration{0}, Duration{40}).count()));
        });
    }

    void start_head(Job &job) {
        const JobId id = job.id;
        const int restarts = job.restarts;
        Host *host = job.host;
        job.head = loop_.spawn("head " + to_string(id), [this, id, restarts, host] {
            const int code = head(id, restarts, *host);
            Job *now = slurm_->find(id);
            if (now != nullptr && now->phase == JobPhase::running && now->restarts == restarts)
                slurm_->end(*now, now->term_sent ? now->end_state : code == 0 ? "COMPLETED" : "FAILED");
        });
        // kill -9 of the batch script: its ranks live on until their lease is over.
        if (!healthy_ && loop_.chance(0.2)) {
            loop_.plan_death(*job.head, static_cast<int>(loop_.between(Duration{0}, Duration{120}).count()));
            notice_death(id, restarts);
        }
    }

    // Slurm sees within half a minute that a batch script is gone.
    void notice_death(JobId id, int restarts) {
        loop_.at(loop_.now() + 30s, [this, id, restarts] {
            Job *now = slurm_->find(id);
            if (now == nullptr || now->phase != JobPhase::running || now->restarts != restarts)
                return;
            if (loop_.alive(*now->head))
                notice_death(id, restarts);
            else
                slurm_->end(*now, "FAILED");
        });
    }

    int head(JobId id, int restarts, Host &host) {
        HostFiles files{loop_, disk_, host};
        HostScheduler scheduler{loop_, *slurm_, host};
        World world{files, scheduler, clock_, "job " + to_string(id)};
        const Job *seen = slurm_->find(id);
        const Claimant me{*parse_attempt_no(seen->name.substr(seen->name.rfind('-') + 1)), id, restarts, host.name};
        AttemptJob job{paths_, me, recovery_, limits_, host.name, true, uid, preparer(),
                       nullptr,
                       [this](const std::string &event, const std::string &text) { note(event + " " + text); }};
        bool background_done = true;
        struct Wait { // also when the head dies: its threads die with it
            Loop &loop;
            bool &done;
            std::optional<Loop::ActorId> actor;
            ~Wait() {
                if (actor && !done)
                    loop.kill(*actor);
            }
        } wait{loop_, background_done, std::nullopt};
        job.in_background = [this, &background_done, &wait](std::function<void()> what) {
            background_done = false;
            wait.actor = loop_.spawn("standby", [what, &background_done] {
                what();
                background_done = true;
            });
        };
        const int code = run_attempt(world, job, [&](const TrainHooks &hooks) { return train(me, hooks); });
        for (int i = 0; i < 600 && !background_done; ++i)
            loop_.sleep(1s);
        return code;
    }

    // Training: steps, checkpoints, failures; ranks that live no longer than the lease.
    Outcome train(const Claimant &me, const TrainHooks &hooks) {
        ProgressFile progress;
        progress.resumed_step = checkpoint_;
        int step = checkpoint_;
        Instant lease_end{};
        bool started = false;
        for (;;) {
            const Instant before = loop_.now();
            auto ours = hooks.beat(progress);
            const bool lost = (ours && !*ours) || (started && loop_.now() >= lease_end);
            if (lost)
                return ended(me, OutcomeKind::lease_lost, started);
            if (ours) {
                lease_end = before + limits_.lease;
                if (lease_end <= loop_.now())
                    return ended(me, OutcomeKind::lease_lost, started);
                started ? ranks_.extend(me, lease_end) : ranks_.start(me, lease_end);
                started = true;
            }
            loop_.sleep(5s);
            loop_.effect();
            if (const Job *job = slurm_->find(me.job); job != nullptr && job->term_sent && job->restarts == me.restarts)
                return ended(me, OutcomeKind::terminated, started);
            if (!started)
                continue;
            if (loop_.now() >= lease_end) // it slept for longer than it was allowed to: suspended, or a slow disk
                return ended(me, OutcomeKind::lease_lost, started);
            step += 5;
            progress.step = step;
            if (step % 25 == 0)
                progress.checkpoint_step = checkpoint_ = std::max(checkpoint_, step);
            if (hooks.end_wish() != EndWish::none)
                return ended(me, OutcomeKind::stopped, started);
            if (step >= steps_to_train)
                return ended(me, OutcomeKind::finished, started);
            if (!healthy_ && loop_.chance(0.01))
                return ended(me, OutcomeKind::rank_failed, started);
        }
    }

    Outcome ended(const Claimant &me, OutcomeKind kind, bool started) {
        Outcome outcome;
        outcome.kind = kind;
        outcome.exit_code = kind == OutcomeKind::finished ? 0 : 1;
        outcome.text = to_string(kind);
        outcome.checkpoint_step = checkpoint_;
        // Now and then a node can't be asked: its ranks live until their lease is over.
        outcome.ranks_dead = !started || healthy_ || !loop_.chance(0.1);
        if (outcome.ranks_dead)
            ranks_.dead(me);
        return outcome;
    }

    void plan_faults(Instant begin) {
        const auto sometime = [&] { return begin + loop_.between(0s, chaos_time); };
        const auto times = [&](int most) { return static_cast<int>(loop_.between(Duration{0}, Duration{most}).count()); };
        for (int i = times(6); i > 0; --i) // other commands of the user, at any time
            spawn_desk("resume", sometime() - begin);
        for (int i = times(3); i > 0; --i)
            loop_.at(sometime(), [this] { slurm_->silent_until = loop_.now() + loop_.between(1s, 5min); });
        for (int i = times(3); i > 0; --i)
            loop_.at(sometime(), [this] { on_random_node([this](Host &host) { break_node(host); }); });
        for (int i = times(3); i > 0; --i)
            loop_.at(sometime(), [this] { on_random_job([this](Job &job) { slurm_->terminate(job, loop_.chance(0.5) ? "TIMEOUT" : "PREEMPTED"); }); });
        for (int i = times(2); i > 0; --i)
            loop_.at(sometime(), [this] { on_random_job([this](Job &job) { slurm_->requeue(job); }); });
        for (int i = times(2); i > 0; --i)
            loop_.at(sometime(), [this] { on_random_job([this](Job &job) {
                if (job.phase != JobPhase::pending || job.after || job.restarts > 0)
                    return;
                job.host = hosts_.front().get(); // a prolog that fails there
                job.started = loop_.now();
                slurm_->end(job, "CANCELLED");
            }); });
        if (wants_stop_)
            loop_.at(sometime(), [this] { stop(); });
    }

    void break_node(Host &host) {
        if (loop_.chance(0.3)) // slurmd alone dies: its job is declared lost, and goes on with a working file system
            return slurm_->fail_node(host, true, 0s);
        const bool cut_off = loop_.chance(0.7);
        const Duration cut = loop_.between(1s, 20min);
        slurm_->fail_node(host, cut_off, cut);
        if (!cut_off) // repaired later
            loop_.at(loop_.now() + loop_.between(10min, 30min), [&host] { host.dead = false; });
    }

    // The user: the wish first, then every pending job, then the rest; until nothing is left.
    void stop() {
        loop_.spawn("stop", [this] {
            HostFiles files{loop_, disk_, login_};
            HostScheduler scheduler{loop_, *slurm_, login_};
            World world{files, scheduler, clock_, "stop"};
            if (!files.write(paths_.wish("stop"), "{}"))
                return;
            for (int i = 0; i < 100; ++i) {
                auto seen = reconcile(world, paths_, {recovery_, limits_, uid, true, preparer()});
                if (seen && seen->state == RunState::stopped)
                    return;
                if (seen) {
                    std::vector<JobId> ids;
                    for (const auto &job : seen->jobs)
                        if (job.phase == JobPhase::running)
                            ids.push_back(job.id);
                    if (!ids.empty())
                        (void)scheduler.cancel(ids).ok();
                }
                loop_.sleep(20s);
            }
        });
    }

    void on_random_node(const std::function<void(Host &)> &what) {
        what(*hosts_[static_cast<std::size_t>(loop_.between(Duration{0}, Duration{static_cast<long>(hosts_.size()) - 1}).count())]);
    }
    void on_random_job(const std::function<void(Job &)> &what) {
        const auto live = slurm_->live("tc-x-");
        if (!live.empty())
            what(*live[static_cast<std::size_t>(loop_.between(Duration{0}, Duration{static_cast<long>(live.size()) - 1}).count())]);
    }

    void note(const std::string &text) {
        const auto stamp = static_cast<std::uint64_t>(loop_.now().time_since_epoch().count());
        findings_.digest = findings_.digest * 1099511628211u ^ std::hash<std::string>{}(text) ^ stamp;
        if (trace)
            fmt::print("{:10.3f} {}\n", std::chrono::duration<double>(loop_.now().time_since_epoch()).count(), text);
    }

    void summarize() {
        findings_.attempts = static_cast<int>(std::count_if(disk_.folders.begin(), disk_.folders.end(), [](const auto &path) {
            return parent_path(path) == "/r/runs/x/attempts";
        }));
        findings_.jobs = static_cast<int>(slurm_->jobs.size());
        findings_.training_starts = ranks_.starts;
        findings_.effects = loop_.effects;
        findings_.sbatch_calls = slurm_->sbatch_calls;
        findings_.same_name_twice = slurm_->twice;
        const auto ended = disk_.files.find(paths_.file("ended.json"));
        if (ended == disk_.files.end()) {
            findings_.broken.push_back("the run is lost: no end after all faults were over");
            return;
        }
        const auto end = from_json_text<Ended>(ended->second, "ended.json");
        findings_.end = end ? to_string(end->kind) : "unreadable";
        if (findings_.end == "failed")
            findings_.broken.push_back("the run failed for good although only the cluster failed: " + end->why);
        if (findings_.end == "finished" && checkpoint_ < steps_to_train)
            findings_.broken.push_back("the run says finished and is not");
        if (findings_.end == "stopped" && !wants_stop_)
            findings_.broken.push_back("the run stopped and nobody wanted it: " + end->why);
        if (slurm_->twice > 0)
            findings_.broken.push_back("an attempt was submitted while a job of its name was live");
        if (!slurm_->live("tc-x-").empty())
            findings_.broken.push_back("jobs of the run are left after its end");
    }

public:
    bool trace = false;

private:
    Findings findings_;
    Loop loop_;
    Disk disk_;
    LoopClock clock_;
    std::vector<std::unique_ptr<Host>> hosts_;
    Host login_;
    std::unique_ptr<Slurm> slurm_;
    Ranks ranks_;
    RunPaths paths_{"/r", RunId{"x"}};
    ProtocolLimits limits_;
    Recovery recovery_;
    int checkpoint_ = 0;
    bool healthy_ = false, wants_stop_ = false;
};

} // namespace

Findings run_scenario(std::uint64_t seed, bool trace) {
    Scenario scenario{seed};
    scenario.trace = trace;
    return scenario.run();
}

} // namespace trainctl::sim
