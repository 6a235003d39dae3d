// What befalls a schedule: the cluster's faults, Slurm's signals, and the user's wishes at any moment.
#include "simulator/schedule.h"

#include <algorithm>

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

constexpr Duration faults_time = 10min;

} // namespace

std::size_t Schedule::pick(std::size_t count) {
    return static_cast<std::size_t>(loop_.between(Duration{0}, Duration{static_cast<long>(count) - 1}).count());
}

void Schedule::plan_faults(Instant begin) {
    const auto often = [&](int most, const std::function<void()> &what) {
        for (int i = times(most); i > 0; --i)
            loop_.at(begin + loop_.between(0s, faults_time), what);
    };
    often(2, [this] { slurm_->silent_until = loop_.now() + loop_.between(1s, 5min); });
    often(3, [this] { on_random_node([this](Host &host) { break_node(host); }); });
    // Cut off from its head only: what runs there goes on writing.
    often(3, [this] { on_random_node([this](Host &host) {
        note("network cut: " + host.name);
        host.net_until = loop_.now() + loop_.between(1s, 90s);
    }); });
    often(3, [this] { on_random_agent([](Agent &agent) { agent.wire() ? agent.wire()->cut() : void(); }); });
    often(2, [this] { on_random_agent([](Agent &agent) { agent.die(); }); });
    often(2, [this] { on_random_job([this](Job &job) { slurm_->terminate(job, loop_.chance(0.5) ? "TIMEOUT" : "PREEMPTED"); }); });
    often(1, [this] { on_random_job([this](Job &job) { slurm_->requeue(job); }); });
    often(1, [this] { on_random_job([this](Job &job) {
        if (job.phase != JobPhase::pending || job.after || job.restarts > 0)
            return;
        job.host = hosts_.front().get(); // a prolog that fails there
        job.started = loop_.now();
        job.cancelled_by = 0;
        slurm_->end(job, "CANCELLED");
    }); });
}

void Schedule::plan_wishes(Instant begin) {
    const auto sometime = [&] { return loop_.between(0s, faults_time); };
    for (int i = times(4); i > 0; --i) // other commands of the user
        spawn_desk("resume", sometime());
    for (int i = loop_.chance(0.5) ? times(3) : 0; i > 0; --i)
        loop_.at(begin + sometime(), [this] {
            disk_.files[paths_.wish("checkpoint-now")] = "{}";
            on_random_job([this](Job &job) {
                if (const auto shell = job.head ? shells_[*job.head].lock() : nullptr)
                    shell->ring();
            });
        });
    if (loop_.chance(0.15))
        loop_.at(begin + sometime(), [this] { stop(); });
    else if (loop_.chance(0.1))
        loop_.at(begin + sometime(), [this] { cancel(); });
}

void Schedule::break_node(Host &host) {
    if (loop_.chance(0.2)) // slurmd alone dies: its job is declared lost there, and goes on with a working file system
        return slurm_->fail_node(host, true, 0s);
    const bool cut_off = loop_.chance(0.6);
    const Duration cut = loop_.chance(0.5) ? loop_.between(1s, 1min) : loop_.between(1s, 20min);
    note((cut_off ? "node cut off: " : "node dies: ") + host.name);
    slurm_->fail_node(host, cut_off, cut);
    if (cut_off)
        return;
    agents_->node_died(host);
    loop_.at(loop_.now() + loop_.between(2min, 15min), [&host] { host.dead = false; }); // repaired
}

// Everything works again.
void Schedule::heal() {
    healthy_ = true;
    slurm_->max_jobs = 1000;
    slurm_->lost_answers = 0;
    trade_->setting.crash = trade_->setting.hang = agents_->setup_fails = 0;
}

// To every process of the job; of a preempted one the batch script hears it at the end only.
void Schedule::slurm_terms(const Job &job) {
    const bool steps_only = loop_.chance(0.2);
    loop_.at(loop_.now() + loop_.between(1ms, 10ms), [this, job, steps_only, start = start_of(job)] {
        for (Host *host : job.nodes)
            if (slurm_->usable(*host))
                for (const auto &agent : agents_->on(*host, &start))
                    agent->term();
        if (steps_only || !job.head || !slurm_->usable(*job.host) || !loop_.alive(*job.head))
            return;
        if (const auto shell = shells_[*job.head].lock())
            shell->signal(TermSignal{});
        else
            loop_.kill(*job.head); // nobody catches it before the training begins
    });
}

void Schedule::slurm_kills(const Job &job, Host &host) {
    const auto start = start_of(job);
    for (const auto &agent : agents_->on(host, &start))
        agent->die();
    if (job.head && job.host == &host)
        loop_.kill(*job.head);
}

// The wish first, then every pending job, then the rest; until nothing is left.
void Schedule::stop() {
    wants_stop_ = true;
    const bool at_once = loop_.chance(0.5); // `cancel` does not wait for a save
    loop_.spawn("stop", [this, at_once] {
        HostFiles files{loop_, disk_, login_};
        HostScheduler scheduler{loop_, *slurm_, login_};
        World world{files, scheduler, clock_, "stop"};
        if (!files.write(paths_.wish("stop"), at_once ? R"({"save": false})" : "{}"))
            return;
        for (int i = 0; i < 100; ++i) {
            auto seen = reconcile(world, paths_, {recovery_, limits_, own_uid, true, preparer()});
            if (seen && seen->state == RunState::stopped)
                return;
            std::vector<JobId> ids;
            for (const auto &job : seen ? seen->jobs : std::vector<JobSighting>{}) {
                Job *known = slurm_->find(job.id);
                if (job.phase != JobPhase::running || known == nullptr)
                    continue;
                if (const auto shell = known->head ? shells_[*known->head].lock() : nullptr; shell && !at_once && slurm_->usable(*known->host))
                    shell->ring();
                if (at_once || i > 3)
                    ids.push_back(job.id);
            }
            if (!ids.empty())
                (void)scheduler.cancel(ids).ok();
            loop_.sleep(20s);
        }
    });
}

// scancel of what runs: a wish to stop.
void Schedule::cancel() {
    on_random_job([this](Job &job) {
        wants_stop_ = true;
        loop_.spawn("scancel", [this, id = job.id] {
            HostScheduler scheduler{loop_, *slurm_, login_};
            (void)scheduler.cancel({id}).ok();
        });
    });
}

void Schedule::on_random_node(const std::function<void(Host &)> &what) {
    // Most faults befall those that train.
    std::vector<Host *> training;
    for (Job *job : slurm_->live("tc-x-"))
        training.insert(training.end(), job->nodes.begin(), job->nodes.end());
    what(training.empty() || loop_.chance(0.2) ? *hosts_[pick(hosts_.size())] : *training[pick(training.size())]);
}

void Schedule::on_random_job(const std::function<void(Job &)> &what) {
    const auto live = slurm_->live("tc-x-");
    if (!live.empty())
        what(*live[pick(live.size())]);
}

void Schedule::on_random_agent(const std::function<void(Agent &)> &what) {
    std::vector<std::shared_ptr<Agent>> alive;
    std::copy_if(agents_->all.begin(), agents_->all.end(), std::back_inserter(alive), [](const auto &agent) { return agent->alive(); });
    if (!alive.empty())
        what(*alive[pick(alive.size())]);
}

} // namespace trainctl::sim
