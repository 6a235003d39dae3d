#include "support/fake_slurm.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>

namespace trainctl {

namespace {

const Error unreachable{ErrorKind::unreachable, "Unable to contact slurm controller (connect failure)", "fake Slurm", ""};
constexpr Duration step = std::chrono::milliseconds{100}; // of virtual time; shorter than any setting

int number(const std::string &text) {
    int value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

WallTime later(WallTime time, Duration span) { return time + std::chrono::duration_cast<WallTime::duration>(span); }

WallTime whole_seconds(WallTime time) { return from_unix_seconds(unix_seconds(time)); }

// "--time" in minutes, or [days-]hours:minutes:seconds
std::chrono::seconds limit_of(const std::string &text) {
    const auto dash = text.find('-');
    const int days = dash == std::string::npos ? 0 : number(text.substr(0, dash));
    const auto parts = split(dash == std::string::npos ? text : text.substr(dash + 1), ':');
    if (parts.size() == 3)
        return std::chrono::seconds{((days * 24 + number(parts[0])) * 60 + number(parts[1])) * 60 + number(parts[2])};
    return std::chrono::minutes{number(parts[0])} + std::chrono::seconds{parts.size() == 2 ? number(parts[1]) : 0};
}

} // namespace

FakeSlurm::FakeSlurm(Settings settings) : settings_{settings} {}

FakeSlurm::Job FakeSlurm::read_options(const SubmitRequest &request) const {
    Job job;
    for (const auto &option : request.options) {
        const auto equals = option.find('=');
        const std::string key = option.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
        if (key == "--job-name") {
            job.name = value;
        } else if (key == "--nodes") {
            job.nodes = number(value);
        } else if (key == "--time") {
            job.time_limit = limit_of(value);
        } else if (key == "--hold") {
            job.held = true;
        } else if (key == "--kill-on-invalid-dep") {
            job.kill_on_invalid_dependency = value == "yes";
        } else if (key == "--exclude") {
            for (const auto &node : split(value, ','))
                job.excluded.insert(node);
        } else if (key == "--dependency") {
            job.dependency = value;
            const auto id = parse_job_id(value.substr(value.find(':') + 1));
            if (starts_with(value, "afternotok:"))
                job.after_not_ok = id;
            else if (starts_with(value, "afterany:"))
                job.after_any = id;
            else if (starts_with(value, "afterok:"))
                job.after_ok = id;
        }
    }
    job.script_path = request.script_path;
    job.environment = request.environment;
    return job;
}

SubmitAnswer FakeSlurm::submit(const SubmitRequest &request) {
    ++counters.submits;
    const Fault fault = std::exchange(next_submit, Fault::none);
    if (controller_down || fault == Fault::lost_request)
        return SubmitUnknown{"sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"};
    Job job = read_options(request);
    for (const auto &before : {job.after_not_ok, job.after_any, job.after_ok})
        if (before && !settings_.forgets_dependencies && (!jobs_.contains(before->value) || !in_queue(get(*before))))
            return Rejected{"sbatch: error: Batch job submission failed: Job dependency problem"};
    job.id = {next_id_++};
    job.submitted = whole_seconds(now_);
    job.startable = later(now_, settings_.cycle);
    const bool too_few = free_nodes(job).size() < static_cast<std::size_t>(job.nodes);
    if (fault == Fault::rejected || too_few) {
        job.reason = "BadConstraints";
        job.exit_code = 1;
        settle(job, "FAILED");
        jobs_.emplace(job.id.value, job);
        return Rejected{rejection};
    }
    jobs_.emplace(job.id.value, job);
    schedule();
    if (fault == Fault::lost_answer)
        return SubmitUnknown{"sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"};
    return Submitted{job.id, ""};
}

bool FakeSlurm::in_queue(const Job &job) const {
    return job.phase != JobPhase::ended || later(job.ended, settings_.min_job_age) > now_;
}

bool FakeSlurm::in_accounting(const Job &job) const {
    return settings_.accounting && !accounting_down && job.phase == JobPhase::ended &&
           later(job.ended, settings_.accounting_lag) <= now_;
}

Result<Scheduler::Found> FakeSlurm::find(const std::vector<std::string> &names) {
    ++counters.finds;
    if (controller_down)
        return unreachable;
    Found found;
    for (const auto &[id, job] : jobs_) {
        if (std::find(names.begin(), names.end(), job.name) == names.end() || (!in_queue(job) && !in_accounting(job)))
            continue;
        JobSighting seen;
        seen.id = job.id;
        seen.name = job.name;
        seen.phase = job.phase;
        seen.state = job.state;
        seen.reason = job.reason == "None" ? "" : job.reason;
        seen.restarts = job.restarts;
        seen.dependency = job.dependency;
        seen.nodes = join({job.allocated.begin(), job.allocated.end()}, ",");
        seen.submitted = job.submitted;
        if (job.phase != JobPhase::pending && job.started != WallTime{})
            seen.started = job.started;
        if (job.phase == JobPhase::ended) {
            seen.ended = job.ended;
            seen.exit_code = job.exit_code;
            seen.exit_signal = job.exit_signal;
            if (in_accounting(job))
                seen.cancelled_by = job.cancelled_by;
        }
        seen.evidence = in_queue(job) ? "squeue" : "sacct";
        if (tells)
            tells(seen);
        found.jobs.push_back(std::move(seen));
    }
    found.accounting = settings_.accounting;
    return found;
}

Result<void> FakeSlurm::cancel(const std::vector<JobId> &ids) {
    ++counters.cancels;
    const Fault fault = std::exchange(next_cancel, Fault::none);
    if (controller_down || fault == Fault::lost_request)
        return unreachable;
    if (fault == Fault::rejected)
        return Error{ErrorKind::denied, "Access/permission denied", "fake Slurm", ""};
    for (const auto id : ids) {
        const auto at = jobs_.find(id.value);
        if (at == jobs_.end() || at->second.phase == JobPhase::ended || !at->second.final_state.empty())
            continue;
        at->second.cancelled_by = settings_.uid;
        if (at->second.phase == JobPhase::running)
            end(id, "CANCELLED", 15);
        else
            settle(at->second, "CANCELLED");
    }
    schedule();
    return fault == Fault::lost_answer ? Result<void>{unreachable} : Result<void>{};
}

Result<void> FakeSlurm::signal_batch(JobId id, const std::string &signal) {
    ++counters.signals;
    if (controller_down)
        return unreachable;
    const auto at = jobs_.find(id.value);
    if (at == jobs_.end() || at->second.state != "RUNNING")
        return Error{ErrorKind::not_found, "Invalid job id specified", "fake Slurm", ""};
    signals.emplace_back(id, signal);
    return {};
}

Result<void> FakeSlurm::update_pending(JobId id, const PendingUpdate &update) {
    ++counters.updates;
    const Fault fault = std::exchange(next_update, Fault::none);
    if (controller_down || fault == Fault::lost_request)
        return unreachable;
    const auto at = jobs_.find(id.value);
    if (at == jobs_.end() || !in_queue(at->second))
        return Error{ErrorKind::not_found, "Invalid job id specified", "fake Slurm", ""};
    Job &job = at->second;
    if (job.phase != JobPhase::pending || fault == Fault::rejected)
        return Error{ErrorKind::refused, "Job is no longer pending execution", "fake Slurm", ""};
    if (!update.exclude_nodes.empty())
        job.excluded = {update.exclude_nodes.begin(), update.exclude_nodes.end()};
    job.nodes = update.nodes.value_or(job.nodes);
    schedule();
    if (fault == Fault::lost_answer)
        return unreachable;
    if (job.reason == "BadConstraints")
        return Error{ErrorKind::refused, "after the change the job can never start: BadConstraints", "fake Slurm", ""};
    return {};
}

bool FakeSlurm::dependency_allows(Job &job) {
    for (const auto &before : {job.after_not_ok, job.after_any, job.after_ok}) {
        if (!before)
            continue;
        const auto at = jobs_.find(before->value);
        if (at == jobs_.end() || (!in_queue(at->second) && job.reason != "DependencyNeverSatisfied"))
            continue;
        if (at->second.phase != JobPhase::ended) {
            job.reason = "Dependency";
            return false;
        }
        const bool went_well = at->second.state == "COMPLETED";
        if ((job.after_not_ok && went_well) || (job.after_ok && !went_well)) {
            job.reason = "DependencyNeverSatisfied";
            if (job.kill_on_invalid_dependency)
                settle(job, "CANCELLED");
            return false;
        }
    }
    if (!job.dependency.empty()) {
        job.dependency.clear();
        job.after_not_ok = job.after_any = job.after_ok = std::nullopt;
        job.startable = later(now_, settings_.cycle);
    }
    return true;
}

std::set<std::string> FakeSlurm::free_nodes(const Job &job) const {
    std::set<std::string> nodes;
    for (int i = 1; i <= settings_.nodes; ++i)
        nodes.insert("n" + std::to_string(i));
    for (const auto &node : job.excluded)
        nodes.erase(node);
    return nodes;
}

void FakeSlurm::start(Job &job) {
    job.phase = JobPhase::running;
    job.state = "RUNNING";
    job.reason = "None";
    job.started = whole_seconds(now_);
    ++counters.starts;
    just_started_.push_back(job.id);
}

void FakeSlurm::schedule() {
    std::set<std::string> busy = down_;
    for (const auto &[id, job] : jobs_)
        if (job.phase == JobPhase::running)
            busy.insert(job.allocated.begin(), job.allocated.end());
    for (auto &[id, job] : jobs_) {
        if (job.phase != JobPhase::pending)
            continue;
        const auto allowed = free_nodes(job);
        if (static_cast<int>(allowed.size()) < job.nodes) {
            job.reason = "BadConstraints";
            continue;
        }
        if (!dependency_allows(job))
            continue;
        if (job.held || job.startable > now_) {
            job.reason = job.held ? "JobHeldUser" : "None";
            continue;
        }
        std::set<std::string> taken;
        for (const auto &node : allowed)
            if (!busy.contains(node) && static_cast<int>(taken.size()) < job.nodes)
                taken.insert(node);
        if (static_cast<int>(taken.size()) < job.nodes) {
            job.reason = "Resources";
            continue;
        }
        busy.insert(taken.begin(), taken.end());
        job.allocated = taken;
        start(job);
    }
    // After the loop: the hook may submit and cancel, which changes the table.
    for (const auto id : std::exchange(just_started_, {}))
        if (on_start)
            on_start(job(id));
}

void FakeSlurm::settle(Job &job, const std::string &state) {
    job.phase = JobPhase::ended;
    job.state = state;
    job.final_state.clear();
    job.ended = whole_seconds(now_);
}

void FakeSlurm::end(JobId id, const std::string &final_state, int exit_signal) {
    Job &job = get(id);
    INVARIANT(job.phase == JobPhase::running);
    job.exit_signal = exit_signal;
    if (settings_.completing > Duration::zero()) {
        job.state = "COMPLETING";
        job.final_state = final_state;
        job.ended = later(now_, settings_.completing); // when its cleaning up is over
        return;
    }
    settle(job, final_state);
    schedule();
}

void FakeSlurm::finish(JobId id, int exit_code) {
    get(id).exit_code = exit_code;
    get(id).reason = exit_code == 0 ? "None" : "NonZeroExitCode";
    end(id, exit_code == 0 ? "COMPLETED" : "FAILED");
}

void FakeSlurm::requeue(JobId id) {
    Job &job = get(id);
    ++job.restarts;
    job.phase = JobPhase::pending;
    job.state = "PENDING";
    job.reason = "BeginTime";
    job.allocated.clear();
    job.submitted = whole_seconds(now_);
    job.startable = later(now_, std::chrono::seconds{121}); // Slurm's credentials must expire first
}

void FakeSlurm::fail_node(const std::string &node, bool ends_job) {
    down_.insert(node);
    std::vector<JobId> hit;
    for (auto &[id, job] : jobs_) {
        if (job.phase != JobPhase::running || !job.allocated.contains(node))
            continue;
        if (ends_job)
            hit.push_back(job.id);
        else
            job.allocated.erase(node); // --no-kill: the node is taken out of the job
    }
    for (const auto id : hit)
        end(id, "NODE_FAIL");
}

void FakeSlurm::recover_node(const std::string &node) {
    down_.erase(node);
    schedule();
}

void FakeSlurm::advance(Duration span) {
    for (const WallTime until = later(now_, span); now_ < until;) {
        now_ = std::min(until, later(now_, step));
        std::vector<JobId> out_of_time;
        for (auto &[id, job] : jobs_) {
            if (!job.final_state.empty() && job.ended <= now_)
                settle(job, job.final_state);
            else if (job.state == "RUNNING" && job.time_limit && later(job.started, *job.time_limit) <= now_)
                out_of_time.push_back(job.id);
        }
        for (const auto id : out_of_time)
            end(id, "TIMEOUT");
        schedule();
    }
}

FakeSlurm::Job &FakeSlurm::get(JobId id) {
    const auto at = jobs_.find(id.value);
    INVARIANT(at != jobs_.end());
    return at->second;
}

const FakeSlurm::Job &FakeSlurm::job(JobId id) const {
    const auto at = jobs_.find(id.value);
    INVARIANT(at != jobs_.end());
    return at->second;
}

std::vector<JobId> FakeSlurm::running(const std::string &name) const {
    std::vector<JobId> ids;
    for (const auto &[id, job] : jobs_)
        if (job.name == name && job.phase == JobPhase::running)
            ids.push_back(job.id);
    return ids;
}

} // namespace trainctl
