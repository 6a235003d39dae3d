#include "slurm/slurm_scheduler.h"

#include "base/files.h"
#include "base/text.h"
#include "slurm/answers.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

using std::chrono::seconds;

// sbatch itself tries for 150 s while the controller is busy; a kill before that makes a lost answer.
constexpr Duration submit_deadline = seconds{170};
constexpr Duration query_deadline = seconds{60};      // a big cluster's squeue under load; slurm.conf's MessageTimeout is 10 s a try
constexpr Duration accounting_deadline = seconds{45}; // sacct is a luxury: squeue has answered already
constexpr Duration order_deadline = seconds{60};
constexpr Duration ring_deadline = seconds{15}; // scancel goes on trying for minutes while a job has no processes yet
constexpr std::size_t names_a_call = 400; // of 64 characters at most: far below the limit of one argument, 128 KiB
constexpr std::size_t ids_a_call = 500;
constexpr std::size_t most_exit_codes = 8; // scontrol calls in one find()
// sacct's window begins at midnight unless told. Jobs of a run that is still looked at ended within this time.
constexpr auto accounting_horizon = std::chrono::hours{24 * 30};
// Without states sacct leaves out jobs that never became eligible: a standby that was cancelled while it waited. These
// are in every version; jobs that ended in a newer way (OUT_OF_MEMORY, ...) ran, and R finds them.
constexpr const char *accounting_states = "PD,R,S,CD,CA,F,TO,NF";

template <class T> std::vector<std::vector<T>> chunks(const std::vector<T> &all, std::size_t size) {
    std::vector<std::vector<T>> out;
    for (std::size_t from = 0; from < all.size(); from += size)
        out.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(from),
                         all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), from + size)));
    return out;
}

std::vector<JobSighting> only_named(std::vector<JobSighting> jobs, const std::vector<std::string> &names) {
    const std::set<std::string> wanted(names.begin(), names.end());
    std::erase_if(jobs, [&](const JobSighting &job) { return !wanted.contains(job.name); });
    return jobs;
}

Error not_understood(const std::string &tool, const std::string &line) {
    return {ErrorKind::invalid, "an answer that trainctl does not understand: " + line, tool,
            "is " + tool + " a wrapper that prints something else? trainctl needs Slurm's own command"};
}

std::string date_before(WallTime now, std::chrono::hours span) { return utc_text(now - span).substr(0, 10); }

bool wants_accounting(const JobSighting &job) {
    return job.phase == JobPhase::ended && (!job.exit_code || (job.state == "CANCELLED" && !job.cancelled_by));
}

} // namespace

Result<SlurmTools> find_slurm_tools(const Environment &environment) {
    const auto variable = [&](const char *name) {
        const auto at = environment.find(name);
        return at == environment.end() ? std::string{} : at->second;
    };
    SlurmTools tools;
    const std::string path = variable("PATH").empty() ? "/usr/local/bin:/usr/bin:/bin" : variable("PATH");
    const std::array wanted{std::pair{"sbatch", &tools.sbatch}, std::pair{"squeue", &tools.squeue},
                            std::pair{"scontrol", &tools.scontrol}, std::pair{"scancel", &tools.scancel}};
    for (const auto &[name, place] : wanted) {
        const auto found = find_program(name, path);
        if (!found)
            return Error{ErrorKind::not_found, fmt::format("{}: no such program in PATH ({})", name, path), "",
                         "this machine has no Slurm commands: use a login node, or set up Slurm's module or PATH in "
                         "the shell's start files that non-interactive logins read"};
        *place = *found;
    }
    tools.sacct = find_program("sacct", path).value_or("");
    tools.environment = {{"PATH", path}, {"LC_ALL", "C"}, {"TZ", "UTC"}, {"SLURM_TIME_FORMAT", "%s"}};
    for (const char *name : {"HOME", "USER", "LOGNAME", "SLURM_CONF", "LD_LIBRARY_PATH"})
        if (!variable(name).empty())
            tools.environment.emplace(name, variable(name));
    return tools;
}

std::vector<JobSighting> merge_sightings(std::vector<JobSighting> squeue, const std::vector<JobSighting> &sacct) {
    std::vector<JobSighting> jobs = std::move(squeue);
    const std::size_t listed = jobs.size();
    for (const auto &record : sacct) {
        const auto end = jobs.begin() + static_cast<std::ptrdiff_t>(listed);
        const auto same = std::find_if(jobs.begin(), end, [&](const JobSighting &job) {
            return job.id == record.id && job.name == record.name;
        });
        if (same == end) {
            if (record.phase == JobPhase::ended) // a living one that squeue does not list is a record that was never closed
                jobs.push_back(record);
            continue;
        }
        // A record of an earlier incarnation (requeue changes the submit time) or one that is late says nothing.
        const bool same_life = !same->submitted || !record.submitted || *same->submitted == *record.submitted;
        if (!same_life || same->phase != JobPhase::ended || record.phase != JobPhase::ended)
            continue;
        same->evidence += "+sacct";
        same->exit_code = record.exit_code ? record.exit_code : same->exit_code;
        same->exit_signal = record.exit_signal ? record.exit_signal : same->exit_signal;
        same->cancelled_by = record.cancelled_by ? record.cancelled_by : same->cancelled_by;
        if (same->nodes.empty())
            same->nodes = record.nodes;
    }
    return jobs;
}

SlurmScheduler::SlurmScheduler(SlurmTools tools, CommandRunner runner)
    : tools_{std::move(tools)}, runner_{std::move(runner)} {}

Result<CommandResult> SlurmScheduler::ask(const std::string &tool, std::vector<std::string> arguments, Duration deadline) {
    arguments.insert(arguments.begin(), tool);
    Command command;
    command.argv = std::move(arguments);
    command.environment = tools_.environment;
    command.deadline = deadline;
    auto result = runner_(command);
    if (!result) {
        Error error = result.error();
        error.where = error.where.empty() ? base_name(tool) : error.where;
        if (error.kind == ErrorKind::timeout && error.hint.empty())
            error.hint = "Slurm is overloaded or its controller hangs; jobs are not touched by that, try again in a minute";
        return error;
    }
    if (result->truncated)
        return Error{ErrorKind::invalid, "its answer was too long and is cut off", base_name(tool), ""};
    return result;
}

SubmitAnswer SlurmScheduler::submit(const SubmitRequest &request) {
    Command command;
    command.argv = {tools_.sbatch, "--parsable"};
    command.argv.insert(command.argv.end(), request.options.begin(), request.options.end());
    command.argv.push_back(request.script_path);
    command.environment = request.environment;
    command.deadline = submit_deadline;
    const auto result = runner_(command);
    return result ? submit_answer(*result) : submit_answer(result.error());
}

Result<std::vector<JobSighting>> SlurmScheduler::ask_squeue(const std::vector<std::string> &names) {
    std::vector<JobSighting> jobs;
    for (const auto &chunk : chunks(names, names_a_call)) {
        std::vector<std::string> arguments{"-a", "-h", "-t", "all", "--name=" + join(chunk, ","), "-o",
                                           std::string{squeue_format}};
        if (!tools_.user.empty())
            arguments.insert(arguments.end(), {"-u", tools_.user});
        const auto result = ask(tools_.squeue, std::move(arguments), query_deadline);
        if (!result)
            return result.error();
        if (!result->ok() || controller_silent(result->err))
            return slurm_error("squeue", *result);
        Sightings found = parse_squeue(result->out);
        if (!found.malformed.empty())
            return not_understood("squeue", found.malformed);
        jobs.insert(jobs.end(), found.jobs.begin(), found.jobs.end());
    }
    return only_named(std::move(jobs), names);
}

Result<std::vector<JobSighting>> SlurmScheduler::ask_sacct(const std::vector<std::string> &names) {
    if (accounting_off_ || tools_.sacct.empty())
        return Error{ErrorKind::not_found, "this cluster has no accounting", "sacct", ""};
    std::vector<JobSighting> jobs;
    const std::string since = date_before(std::chrono::system_clock::now(), accounting_horizon);
    for (const auto &chunk : chunks(names, names_a_call)) {
        std::vector<std::string> arguments{"-X", "-n", "-P", "-S", since, "-E", "now", "-s", accounting_states,
                                           "--name=" + join(chunk, ","), "--format=" + std::string{sacct_format}};
        if (tools_.user.empty())
            arguments.emplace_back("-a");
        else
            arguments.insert(arguments.end(), {"-u", tools_.user});
        const auto result = ask(tools_.sacct, std::move(arguments), accounting_deadline);
        if (!result)
            return result.error();
        if (accounting_off(result->err + result->out))
            accounting_off_ = true;
        // sacct may end with 0 although the database did not answer.
        if (!result->ok() || accounting_off_ || result->err.find("error:") != std::string::npos)
            return slurm_error("sacct", *result);
        Sightings found = parse_sacct(result->out);
        if (!found.malformed.empty())
            return not_understood("sacct", found.malformed);
        jobs.insert(jobs.end(), found.jobs.begin(), found.jobs.end());
    }
    return only_named(std::move(jobs), names);
}

void SlurmScheduler::add_exit_codes(std::vector<JobSighting> &jobs) {
    std::size_t asked = 0;
    for (auto &seen : jobs) {
        if (seen.phase != JobPhase::ended || seen.exit_code || asked++ >= most_exit_codes)
            continue;
        const auto known = job(seen.id);
        if (!known || !*known || (*known)->name != seen.name || (*known)->phase != JobPhase::ended)
            continue;
        seen.exit_code = (*known)->exit_code;
        seen.exit_signal = (*known)->exit_signal;
        seen.restarts = (*known)->restarts;
    }
}

Result<Scheduler::Found> SlurmScheduler::find(const std::vector<std::string> &names) {
    if (names.empty())
        return Found{};
    auto queued = ask_squeue(names);
    if (!queued)
        return queued.error();
    // All names, so that namesakes of a job in the queue that ended long ago are found by the same call.
    const bool all_seen = std::all_of(names.begin(), names.end(), [&](const std::string &name) {
        return std::any_of(queued->begin(), queued->end(), [&](const JobSighting &job) { return job.name == name; });
    });
    Found found{std::move(*queued), false};
    if (!all_seen || std::any_of(found.jobs.begin(), found.jobs.end(), wants_accounting)) {
        if (const auto records = ask_sacct(names))
            found.jobs = merge_sightings(std::move(found.jobs), *records);
    }
    found.accounting = !accounting_off_ && !tools_.sacct.empty();
    add_exit_codes(found.jobs);
    return found;
}

Result<void> SlurmScheduler::cancel(const std::vector<JobId> &ids) {
    for (const auto &chunk : chunks(ids, ids_a_call)) {
        std::vector<std::string> arguments;
        for (const auto &id : chunk)
            arguments.push_back(to_string(id));
        const auto result = ask(tools_.scancel, std::move(arguments), order_deadline);
        if (!result)
            return result.error();
        const std::string text = result->err + result->out;
        if (controller_silent(text) || permission_denied(text))
            return slurm_error("scancel", *result);
        if (!result->ok() && !no_such_job(text) && !job_already_over(text))
            return slurm_error("scancel", *result);
    }
    return {};
}

Result<void> SlurmScheduler::signal_batch(JobId id, const std::string &signal) {
    const auto result = ask(tools_.scancel, {"-s", signal, "-b", to_string(id)}, ring_deadline);
    if (!result)
        return result.error();
    // scancel says what went wrong on stderr, with 0 in some versions.
    if (!result->ok() || result->err.find("error:") != std::string::npos)
        return slurm_error("scancel", *result);
    return {};
}

} // namespace trainctl
