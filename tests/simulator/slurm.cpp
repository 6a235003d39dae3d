#include "simulator/slurm.h"

#include "base/text.h"

#include <algorithm>

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
    auto nodes = allocate();
    if (nodes.empty() || loop_.now() < silent_until)
        return schedule(id);
    job->nodes = std::move(nodes);
    job->host = job->nodes.front();
    job->phase = JobPhase::running;
    job->state = "RUNNING";
    job->started = loop_.now();
    job->term_sent = false;
    start_head(*job);
}

// Nodes that are up and no other job has, in any order; none where there are too few.
std::vector<Host *> Slurm::allocate() {
    std::vector<Host *> good;
    for (Host *host : hosts_) {
        const bool used = std::any_of(jobs.begin(), jobs.end(), [host](const auto &entry) {
            const auto &nodes = entry.second.nodes;
            return entry.second.phase == JobPhase::running && std::find(nodes.begin(), nodes.end(), host) != nodes.end();
        });
        if (usable(*host) && !used)
            good.push_back(host);
    }
    const auto count = static_cast<std::size_t>(nodes_per_job);
    if (good.size() < count)
        return {};
    std::shuffle(good.begin(), good.end(), loop_.random());
    good.resize(count);
    return good;
}

// Of nodes that can't be reached when they can, if at all.
void Slurm::kill_processes(const Job &job) {
    for (Host *host : job.nodes) {
        if (usable(*host))
            loop_.at(loop_.now() + loop_.between(1ms, 2s), [this, job, host] { on_kill(job, *host); });
        else if (loop_.chance(0.8))
            loop_.at(std::max({loop_.now(), host->cut_until, host->slurmd_until}) + loop_.between(1s, 30s), [this, job, host] { on_kill(job, *host); });
    }
}

void Slurm::end(Job &job, const std::string &state) {
    if (job.phase == JobPhase::ended)
        return;
    kill_processes(job);
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
    on_term(job);
    const JobId id = job.id;
    const int restarts = job.restarts;
    loop_.at(loop_.now() + kill_wait, [this, id, restarts] {
        Job *now = find(id);
        if (now == nullptr || now->phase != JobPhase::running || now->restarts != restarts)
            return;
        if (now->head && usable(*now->host))
            loop_.kill(*now->head);
        end(*now, now->end_state);
    });
}

void Slurm::fail_node(Host &host, bool cut_off, Duration cut) {
    if (cut_off && cut > 0s)
        host.cut_until = loop_.now() + cut;
    else if (cut_off)
        host.slurmd_until = loop_.now() + loop_.between(slurmd_timeout, 4 * slurmd_timeout);
    else if (!cut_off)
        host.dead = true;
    for (auto &[number, job] : jobs) {
        if (job.phase != JobPhase::running || std::find(job.nodes.begin(), job.nodes.end(), &host) == job.nodes.end())
            continue;
        if (!cut_off && job.head && job.host == &host)
            loop_.kill(*job.head);
        // Slurm notices late, and not at all when a cut heals before that.
        if (!cut_off || cut == 0s || cut > slurmd_timeout)
            loop_.at(loop_.now() + slurmd_timeout, [this, id = job.id, restarts = job.restarts, &host] { notice_lost_node(id, restarts, host); });
    }
}

void Slurm::notice_lost_node(JobId id, int restarts, Host &host) {
    Job *job = find(id);
    if (job == nullptr || job->phase != JobPhase::running || job->restarts != restarts)
        return;
    if (!no_kill || job->nodes.size() == 1 || (job->host == &host && !keeps_headless))
        return end(*job, "NODE_FAIL"); // its processes may go on on the cut-off node
    job->nodes.erase(std::remove(job->nodes.begin(), job->nodes.end(), &host), job->nodes.end());
}

void Slurm::requeue(Job &job) {
    if (job.phase == JobPhase::pending)
        return;
    // On a node that Slurm can reach the old batch script dies; on a cut-off one it goes on.
    if (job.head && usable(*job.host))
        loop_.kill(*job.head);
    kill_processes(job);
    job.nodes.clear();
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
        if (slurm_.says_who)
            seen.cancelled_by = job.cancelled_by;
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
        if (Job *job = slurm_.find(id)) {
            if (job->phase != JobPhase::ended && !job->term_sent)
                job->cancelled_by = own_uid;
            slurm_.terminate(*job, "CANCELLED");
        }
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
