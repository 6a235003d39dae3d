#include "simulator/slurm.h"

#include "base/text.h"

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

constexpr Duration kill_wait = 30s;
constexpr Duration min_job_age = 300s;
constexpr Duration slurmd_timeout = 300s;

std::string option(const SubmitRequest &request, const std::string &name) {
    for (const auto &text : request.options)
        if (starts_with(text, name + "="))
            return text.substr(name.size() + 1);
    return "";
}

} // namespace

JobId Slurm::submit(const std::string &name, std::optional<JobId> after) {
    const JobId id{next_id_++};
    for (const auto &[other_id, other] : jobs)
        twice += other.name == name && (other.phase == JobPhase::pending || other.phase == JobPhase::running) ? 1 : 0;
    ++made;
    Job job;
    job.id = id;
    job.name = name;
    job.after = after;
    job.submitted = loop_.now();
    jobs.emplace(id.value, job);
    schedule(id);
    return id;
}

Job *Slurm::find(JobId id) {
    const auto at = jobs.find(id.value);
    return at == jobs.end() ? nullptr : &at->second;
}

std::vector<Job *> Slurm::live(const std::string &prefix) {
    std::vector<Job *> out;
    for (auto &[id, job] : jobs)
        if (job.phase != JobPhase::ended && starts_with(job.name, prefix))
            out.push_back(&job);
    return out;
}

void Slurm::schedule(JobId id) {
    loop_.at(loop_.now() + loop_.between(100ms, 40s), [this, id] { start(id); });
}

void Slurm::start(JobId id) {
    Job *job = find(id);
    if (job == nullptr || job->phase != JobPhase::pending)
        return;
    if (job->after) {
        const Job *first = find(*job->after);
        if (first != nullptr && first->phase != JobPhase::ended)
            return; // schedule()d again when that job ends
        if (first != nullptr && first->end_state == "COMPLETED")
            return end(*job, "CANCELLED");
    }
    std::vector<Host *> good;
    for (Host *host : hosts_)
        if (!host->dead && loop_.now() >= host->cut_until)
            good.push_back(host);
    if (good.empty() || loop_.now() < silent_until)
        return schedule(id);
    job->host = good[static_cast<std::size_t>(loop_.between(Duration{0}, Duration{static_cast<long>(good.size()) - 1}).count())];
    job->phase = JobPhase::running;
    job->state = "RUNNING";
    job->started = loop_.now();
    job->term_sent = false;
    start_head(*job);
}

void Slurm::end(Job &job, const std::string &state) {
    if (job.phase == JobPhase::ended)
        return;
    job.phase = JobPhase::ended;
    job.state = job.end_state = state;
    job.ended = loop_.now();
    for (auto &[id, other] : jobs)
        if (other.phase == JobPhase::pending && other.after == job.id)
            schedule(other.id);
}

void Slurm::terminate(Job &job, const std::string &end_state) {
    if (job.phase == JobPhase::pending)
        return end(job, end_state);
    if (job.phase != JobPhase::running || job.term_sent)
        return;
    job.term_sent = true;
    job.state = "COMPLETING";
    job.end_state = end_state;
    const JobId id = job.id;
    const int restarts = job.restarts;
    loop_.at(loop_.now() + kill_wait, [this, id, restarts] {
        Job *now = find(id);
        if (now == nullptr || now->phase != JobPhase::running || now->restarts != restarts)
            return;
        if (now->head && !now->host->dead && loop_.now() >= now->host->cut_until)
            loop_.kill(*now->head);
        end(*now, now->end_state);
    });
}

void Slurm::fail_node(Host &host, bool cut_off, Duration cut) {
    if (cut_off && cut > 0s)
        host.cut_until = loop_.now() + cut;
    else if (!cut_off)
        host.dead = true;
    for (auto &[number, job] : jobs) {
        if (job.phase != JobPhase::running || job.host != &host)
            continue;
        if (!cut_off && job.head)
            loop_.kill(*job.head);
        const JobId id = job.id;
        const int restarts = job.restarts;
        // Slurm notices late, and not at all when a cut heals before that.
        if (!cut_off || cut == 0s || cut > slurmd_timeout)
            loop_.at(loop_.now() + slurmd_timeout, [this, id, restarts] {
                Job *now = find(id);
                if (now != nullptr && now->phase == JobPhase::running && now->restarts == restarts)
                    end(*now, "NODE_FAIL"); // its head may go on on the cut-off node
            });
    }
}

void Slurm::requeue(Job &job) {
    if (job.phase == JobPhase::pending)
        return;
    // On a node that Slurm can reach the old batch script dies; on a cut-off one it goes on.
    if (job.head && !job.host->dead && loop_.now() >= job.host->cut_until)
        loop_.kill(*job.head);
    job.phase = JobPhase::pending;
    job.state = "PENDING";
    job.reason = "BeginTime";
    ++job.restarts;
    const JobId id = job.id;
    loop_.at(loop_.now() + 121s, [this, id] { start(id); });
}

bool HostScheduler::silent() { return loop_.now() < slurm_.silent_until || loop_.now() < host_.cut_until; }

SubmitAnswer HostScheduler::submit(const SubmitRequest &request) {
    const auto name = option(request, "--job-name");
    const auto after_text = option(request, "--dependency");
    std::optional<JobId> after;
    if (!after_text.empty())
        after = parse_job_id(after_text.substr(after_text.find(':') + 1));
    ++slurm_.sbatch_calls;
    loop_.effect();
    loop_.sleep(loop_.between(5ms, 300ms));
    if (silent()) { // sbatch retries; now and then one of its tries goes through after we gave up on it
        if (loop_.chance(0.3))
            loop_.at(loop_.now() + loop_.between(1s, 140s), [&slurm = slurm_, name, after] { slurm.submit(name, after); }); // sbatch may be gone by then
        loop_.sleep(loop_.between(10s, 150s));
        return SubmitUnknown{"Unable to contact slurm controller"};
    }
    if (static_cast<int>(slurm_.live("").size()) >= slurm_.max_jobs)
        return Rejected{"sbatch: error: AssocMaxSubmitJobLimit"};
    const JobId id = slurm_.submit(name, after);
    loop_.effect(); // death here: the job exists, nobody knows
    loop_.sleep(loop_.between(5ms, 300ms));
    if (loop_.chance(slurm_.lost_answers))
        return SubmitUnknown{"Socket timed out on send/recv operation"};
    return Submitted{id, ""};
}

Result<Scheduler::Found> HostScheduler::find(const std::vector<std::string> &names) {
    loop_.effect();
    loop_.sleep(loop_.between(5ms, 500ms));
    if (silent())
        return Error{ErrorKind::unreachable, "Unable to contact slurm controller (connect failure)", "squeue", ""};
    Found found;
    for (const auto &[id, job] : slurm_.jobs) {
        if (std::find(names.begin(), names.end(), job.name) == names.end())
            continue;
        if (job.phase == JobPhase::ended && loop_.now() - job.ended > min_job_age)
            continue;
        JobSighting seen;
        seen.id = job.id;
        seen.name = job.name;
        seen.phase = job.phase;
        seen.state = job.state;
        seen.reason = job.reason;
        seen.restarts = job.restarts;
        if (job.host != nullptr) {
            seen.nodes = job.host->name;
            seen.started = WallTime{job.started.time_since_epoch()};
        }
        seen.evidence = "squeue";
        found.jobs.push_back(seen);
    }
    return found;
}

Result<void> HostScheduler::cancel(const std::vector<JobId> &ids) {
    loop_.effect();
    loop_.sleep(loop_.between(5ms, 300ms));
    if (silent())
        return Error{ErrorKind::unreachable, "Unable to contact slurm controller", "scancel", ""};
    for (const JobId id : ids)
        if (Job *job = slurm_.find(id))
            slurm_.terminate(*job, "CANCELLED");
    loop_.effect();
    return {};
}

Result<void> HostScheduler::signal_batch(JobId, const std::string &) {
    loop_.effect();
    return {};
}

Result<void> HostScheduler::update_pending(JobId, const PendingUpdate &) {
    loop_.effect();
    return {};
}

} // namespace trainctl::sim
