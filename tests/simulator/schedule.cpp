#include "simulator/schedule.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

constexpr Duration chaos_time = 15min;   // faults happen in the first minutes
constexpr Duration quiet_time = 36h;     // and then there is time to finish
constexpr Duration partition_limit = 6h; // of every job
constexpr Duration afterwards = 90min;   // until nothing may be left
constexpr int hosts = 8;

} // namespace

Schedule::Schedule(std::uint64_t seed, bool trace)
    : trace_(trace), loop_(seed), disk_(loop_, loop_.chance(0.5) ? loop_.between(1s, 60s) : 0s), clock_(loop_), ledger_(loop_, findings_.broken) {
    std::vector<Host *> nodes;
    for (int i = 0; i < hosts; ++i) {
        hosts_.push_back(std::make_unique<Host>());
        hosts_.back()->name = "n" + std::to_string(i + 1);
        nodes.push_back(hosts_.back().get());
    }
    login_.name = "login1";
    slurm_ = std::make_unique<Slurm>(loop_, nodes);
    slurm_->start_head = [this](Job &job) { start_head(job); };
    slurm_->on_term = [this](const Job &job) { slurm_terms(job); };
    slurm_->on_kill = [this](const Job &job, Host &host) { slurm_kills(job, host); };
    for (const auto *folder : {"/r", "/r/runs", "/r/runs/x", "/r/runs/x/attempts", "/r/runs/x/control", "/r/runs/x/checkpoints"})
        disk_.folders.insert(folder);
    draw_site();
    draw_training();
    ledger_.run_over = [this] { return disk_.files.contains(paths_.file("ended.json")); };
}

Schedule::~Schedule() { loop_.kill_all(); } // they unwind while what they use is there

void Schedule::draw_site() {
    slurm_->lost_answers = loop_.chance(0.5) ? 0.3 : 0.0;
    slurm_->no_kill = loop_.chance(0.8);
    slurm_->keeps_headless = loop_.chance(0.5);
    slurm_->says_who = loop_.chance(0.5);
    if (loop_.chance(0.15))
        slurm_->max_jobs = 1; // standbys are refused
    limits_.lease = loop_.chance(0.5) ? 30s : loop_.between(15s, 90s);
    may_fail_ = loop_.chance(0.15);
    recovery_.no_progress_max = may_fail_ ? 3 : 1000; // most faults here are the cluster's: giving up is another matter
    recovery_.max_attempts = 1000;
    config_.needed = 1 + static_cast<int>(pick(3));
    spares_ = static_cast<int>(pick(2));
    config_.min_nodes = config_.needed > 1 && loop_.chance(0.4) ? config_.needed - 1 : 0;
    config_.in_place = loop_.chance(0.85);
    config_.no_progress_max = recovery_.no_progress_max;
    config_.lease = limits_.lease;
    if (loop_.chance(0.3)) {
        config_.heartbeat = 2s;
        config_.node_timeout = 5s;
    }
    slurm_->nodes_per_job = config_.needed + spares_;
    head_dies_ = loop_.chance(0.5) ? 0.3 : 0;
    job_limited_ = loop_.chance(0.3) ? 0.5 : 0;
}

void Schedule::draw_training() {
    checkpoints_ = std::make_unique<Checkpoints>(disk_, paths_.file("checkpoints"), static_cast<SaveStyle>(pick(3)));
    TrainingSetting setting;
    setting.total_steps = 60 + times(120);
    setting.ranks_per_node = loop_.chance(0.3) ? 2 : 1;
    setting.step = loop_.between(1s, 3s);
    setting.save_every = 4 + static_cast<int>(pick(12));
    setting.save_least = 50ms;
    setting.save_most = loop_.chance(0.5) ? 500ms : loop_.between(1s, 15s);
    setting.saves_beside = loop_.chance(0.5);
    setting.ends_after_signal = loop_.chance(0.5);
    setting.dies_of_term = loop_.chance(0.5);
    setting.crash = loop_.chance(0.7) ? 0.02 : 0;
    setting.hang = loop_.chance(0.3) ? 0.01 : 0;
    config_.ranks_per_node = setting.ranks_per_node;
    config_.save_signal = loop_.chance(0.6) ? "USR1" : "";
    config_.save_time = loop_.between(5s, 60s);
    if (loop_.chance(0.7))
        config_.total_steps = setting.total_steps;
    config_.stall.mode = loop_.chance(0.5) ? StallSetting::Mode::fixed : StallSetting::Mode::automatic;
    config_.stall.fixed = 40s;
    config_.stall.startup = 3min;
    config_.stall.expects_steps = true;
    keep_ = loop_.chance(0.5) ? 2 : 0;
    trade_ = std::make_unique<Trade>(Trade{loop_, ledger_, *checkpoints_, disk_, setting, [this](const std::string &text) { note(text); }});
    agents_ = std::make_unique<Agents>(Agents{loop_, disk_, *slurm_, *trade_, paths_});
    agents_->setup_fails = loop_.chance(0.2) ? 0.1 : 0;
    agents_->setup_least = 100ms;
    agents_->setup_most = loop_.between(1s, 20s);
    config_.judged = loop_.chance(0.6);
}

Findings Schedule::run() {
    const Instant begin = loop_.now();
    spawn_desk("submit", 0s);
    plan_faults(begin);
    plan_wishes(begin);
    while (loop_.now() < begin + chaos_time && !done())
        loop_.run_until(loop_.now() + 1min);
    heal();
    // Somebody looks after the run now and then.
    for (const Instant end = loop_.now() + quiet_time; loop_.now() < end && !done();) {
        spawn_desk("watch", 0s);
        loop_.run_until(loop_.now() + 5min);
    }
    loop_.run_until(loop_.now() + afterwards);
    summarize();
    return findings_;
}

bool Schedule::done() { return disk_.files.contains(paths_.file("ended.json")) && slurm_->live("tc-x-").empty(); }

std::function<Result<SubmitRequest>(const MakeRequest &)> Schedule::preparer() {
    return [this](const MakeRequest &request) -> Result<SubmitRequest> {
        SubmitRequest submit;
        submit.options.push_back("--job-name=" + job_name(paths_.run, request.no));
        if (request.after)
            submit.options.push_back("--dependency=afternotok:" + to_string(*request.after));
        return submit;
    };
}

// `submit`, `resume`, `watch`: all of them reconcile. They run on the login node and die now and then.
void Schedule::spawn_desk(const std::string &name, Duration delay) {
    loop_.at(loop_.now() + delay, [this, name] {
        const auto id = loop_.spawn(name, [this, name] {
            HostFiles files{loop_, disk_, login_};
            HostScheduler scheduler{loop_, *slurm_, login_};
            World world{files, scheduler, clock_, name};
            auto result = reconcile(world, paths_, {recovery_, limits_, own_uid, true, preparer()});
            if (result)
                note("desk: " + result->text);
        });
        if (!healthy_ && loop_.chance(0.5))
            loop_.plan_death(id, times(40));
    });
}

JobStart Schedule::start_of(const Job &job) { return {*parse_attempt_no(job.name.substr(job.name.rfind('-') + 1)), job.id, job.restarts}; }

void Schedule::start_head(Job &job) {
    note(fmt::format("job {}.{} starts as {} on {}", job.id.value, job.restarts, job.name, job.host->name));
    disk_.files[paths_.attempt_file(start_of(job).attempt, began_file(job.id, job.restarts))] = "";
    job.head = loop_.spawn("head", [this, id = job.id, restarts = job.restarts, host = job.host] {
        const int code = head(id, restarts, *host);
        Job *now = slurm_->find(id);
        if (now != nullptr && now->phase == JobPhase::running && now->restarts == restarts)
            slurm_->end(*now, now->term_sent ? now->end_state : code == 0 ? "COMPLETED" : "FAILED");
    });
    plan_limit(job);
    // kill -9 of the batch script: its ranks live on until their lease is over.
    if (!healthy_ && loop_.chance(head_dies_)) {
        loop_.plan_death(*job.head, times(200));
        notice_death(job.id, job.restarts);
    }
}

void Schedule::plan_limit(const Job &job) {
    const bool soon = !healthy_ && loop_.chance(job_limited_);
    const Instant limit = loop_.now() + (soon ? loop_.between(2min, 10min) : partition_limit);
    slurm_->find(job.id)->limit = limit;
    const auto mine = [this, start = start_of(job)]() -> Job * {
        Job *now = slurm_->find(start.job);
        return now != nullptr && now->phase == JobPhase::running && now->restarts == start.restarts ? now : nullptr;
    };
    if (!config_.save_signal.empty())
        loop_.at(limit - config_.save_time, [this, mine] {
            const Job *now = mine();
            if (now == nullptr || !slurm_->usable(*now->host))
                return;
            if (const auto shell = shells_[*now->head].lock())
                shell->signal(EarlySignal{});
        });
    loop_.at(limit, [this, mine, soon] {
        Job *now = mine();
        findings_.waited_for_limit += now != nullptr && !soon ? 1 : 0;
        if (now != nullptr && !soon && loop_.alive(*now->head))
            ledger_.claim("a head waited for ever: only the time limit ended it");
        if (now != nullptr)
            slurm_->terminate(*now, "TIMEOUT");
    });
}

// Slurm sees within half a minute that a batch script is gone.
void Schedule::notice_death(JobId id, int restarts) {
    loop_.at(loop_.now() + 30s, [this, id, restarts] {
        Job *now = slurm_->find(id);
        if (now == nullptr || now->phase != JobPhase::running || now->restarts != restarts)
            return;
        if (loop_.alive(*now->head) || !slurm_->usable(*now->host))
            notice_death(id, restarts);
        else
            slurm_->end(*now, "FAILED");
    });
}

int Schedule::head(JobId id, int restarts, Host &host) {
    HostFiles files{loop_, disk_, host};
    HostScheduler scheduler{loop_, *slurm_, host};
    World world{files, scheduler, clock_, "job " + to_string(id)};
    const Claimant me{start_of(*slurm_->find(id)).attempt, id, restarts, host.name};
    AttemptJob job{paths_, me, recovery_, limits_, host.name, true, own_uid, preparer(), nullptr,
                   [this](const std::string &event, const std::string &text) { note(event + " " + text); }};
    struct Background { // dies with the process
        Loop &loop;
        std::optional<Loop::ActorId> actor;
        ~Background() {
            if (actor)
                loop.kill(*actor);
        }
    } background{loop_, std::nullopt};
    job.in_background = [this, &background](std::function<void()> what) { background.actor = loop_.spawn("standby", std::move(what)); };
    return run_attempt(world, job, [&](const TrainHooks &hooks) { return train(me, hooks, host); });
}

HeadSetup Schedule::head_setup(const Claimant &me) {
    HeadSetup setup{*agents_, *checkpoints_, config_, {}, keep_,
                    [this](Instant from, const auto &complete, const auto &choice) { check_choice(from, complete, choice); },
                    config_.judged ? [this, me](const FailureFacts &facts) { return judge(me, facts); } : std::function<Failure(const FailureFacts &)>{},
                    [this](const std::string &text) { note(text); }};
    const Job *job = slurm_->find(me.job);
    for (const Host *node : job->nodes)
        setup.config.nodes.push_back(node->name);
    setup.config.limit = job->limit;
    setup.nodes.run = paths_.run.value;
    setup.nodes.attempt = me.no.value;
    setup.nodes.heartbeat_ms = std::chrono::duration_cast<std::chrono::milliseconds>(config_.heartbeat).count();
    setup.nodes.leave_ms = std::chrono::duration_cast<std::chrono::milliseconds>(limits_.lease).count();
    return setup;
}

Outcome Schedule::train(const Claimant &me, const TrainHooks &hooks, Host &host) {
    HostFiles files{loop_, disk_, host};
    auto setup = head_setup(me);
    setup.config.lease_from = hooks.checked;
    check_obeyed(me);
    const auto complete = checkpoints_->complete_steps();
    const Instant from = loop_.now();
    const auto choice = checkpoints_->newest_complete(files);
    check_choice(from, complete, choice.newest);
    const auto shell = std::make_shared<HeadShell>(std::move(setup), JobStart{me.no, me.job, me.restarts}, host, hooks);
    shells_[loop_.current()] = shell;
    Outcome outcome = shell->run(choice.newest);
    findings_.generations += static_cast<std::uint64_t>(outcome.generations);
    if (const auto newest = checkpoints_->newest_complete(files).newest) {
        outcome.checkpoint = newest->path;
        outcome.checkpoint_step = newest->step;
    }
    return outcome;
}

// Any ruling may meet any moment, whatever the failure was; how the real one rules has tests of its own.
Failure Schedule::judge(const Claimant &me, const FailureFacts &facts) {
    Failure failure;
    failure.failure_class = "drawn";
    failure.attempt = me.no.value;
    failure.generation = facts.generation;
    if (may_fail_ && loop_.chance(0.2))
        failure.ruling = RulingKind::stop;
    else if (loop_.chance(0.15))
        failure.ruling = RulingKind::hand_over;
    if (loop_.chance(0.3))
        failure.wait_s = std::chrono::duration<double>(loop_.between(100ms, 60s)).count();
    if (!facts.nodes.empty() && loop_.chance(0.2))
        failure.avoid = {facts.nodes[pick(facts.nodes.size())]};
    ++findings_.rulings;
    return failure;
}

// Of a run that was ruled to stop nobody trains any more. Where names are seen late, an outcome may be missed.
void Schedule::check_obeyed(const Claimant &me) {
    for (int no = 1; no < me.no.value && disk_.staleness() == 0s; ++no) {
        const auto file = disk_.files.find(paths_.attempt_file({no}, "outcome.json"));
        AttemptView attempt;
        attempt.no = {no};
        if (auto outcome = file == disk_.files.end() ? Result<Outcome>{Outcome{}} : from_json_text<Outcome>(file->second, "outcome.json"); outcome)
            attempt.outcome = *outcome;
        if (const auto *failure = failure_of(attempt); failure != nullptr && failure->ruling == RulingKind::stop)
            ledger_.claim(fmt::format("attempt {} trains, and attempt {} was ruled to stop", me.no.value, no));
    }
}

// Whole, and not older than the newest complete one that could be seen: a host may not have heard of names for a while.
void Schedule::check_choice(Instant from, const std::vector<int> &complete, const std::optional<CheckpointSeen> &choice) {
    if (choice && !checkpoints_->whole(choice->path))
        ledger_.claim("chosen and not whole: " + choice->path);
    if (loop_.now() - from > limits_.lease) // its file system hung: the head has given up, and a successor may have removed what was there
        return;
    int newest = 0;
    for (const int step : complete)
        if (const auto since = trade_->complete_since.find(step);
            disk_.staleness() == 0s || (since != trade_->complete_since.end() && since->second + disk_.staleness() < from))
            newest = std::max(newest, step);
    if ((choice ? choice->step : 0) < newest)
        ledger_.claim(fmt::format("step {} was chosen, and step {} was complete", choice ? choice->step : 0, newest));
}

void Schedule::note(const std::string &text) {
    const auto stamp = static_cast<std::uint64_t>(loop_.now().time_since_epoch().count());
    findings_.digest = findings_.digest * 1099511628211u ^ std::hash<std::string>{}(text) ^ stamp;
    if (trace_)
        fmt::print("{:10.3f} {}\n", std::chrono::duration<double>(loop_.now().time_since_epoch()).count(), text);
}

void Schedule::summarize() {
    findings_.attempts = static_cast<int>(disk_.names_in("/r/runs/x/attempts").size());
    findings_.jobs = static_cast<int>(slurm_->jobs.size());
    findings_.training_starts = ledger_.starts;
    findings_.effects = loop_.effects;
    findings_.sbatch_calls = slurm_->sbatch_calls;
    findings_.same_name_twice = slurm_->twice;
    findings_.crashes = trade_->crashes;
    findings_.hangs = trade_->hangs;
    findings_.saves = trade_->saves;
    findings_.late_writes = trade_->late_writes;
    findings_.abandoned = agents_->abandoned;
    const auto ended = disk_.files.find(paths_.file("ended.json"));
    if (ended == disk_.files.end())
        return ledger_.claim("the run is lost: no end after all faults were over");
    const auto end = from_json_text<Ended>(ended->second, "ended.json");
    if (!end)
        return ledger_.claim("ended.json can't be read");
    findings_.end = to_string(end->kind);
    check_end(*end);
}

void Schedule::check_end(const Ended &end) {
    if (end.kind == EndKind::failed && !may_fail_)
        ledger_.claim("the run failed for good although only the cluster failed: " + end.why);
    if (end.kind == EndKind::stopped && !wants_stop_)
        ledger_.claim("the run stopped and nobody wanted it: " + end.why);
    const int total = trade_->setting.total_steps;
    if (end.kind == EndKind::finished && checkpoints_->whole(checkpoints_->path(total)) != undisturbed(total))
        ledger_.claim("the run says finished and is not");
    if (slurm_->twice > 0)
        ledger_.claim("an attempt was submitted while a job of its name was live");
    if (!slurm_->live("tc-x-").empty())
        ledger_.claim("jobs of the run are left after its end");
    if (ledger_.anybody())
        ledger_.claim("ranks are left after the run's end");
    for (const auto &host : hosts_)
        if (!agents_->on(*host).empty())
            ledger_.claim("an agent is left after the run's end");
}

} // namespace trainctl::sim
