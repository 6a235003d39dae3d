#include "desk/desk.h"

#include "base/text.h"
#include "slurm/start_check.h"

#include <algorithm>
#include <array>

namespace trainctl {

namespace {

Json seconds_or_null(const std::optional<WallTime> &time) { return time ? Json(unix_seconds(*time)) : Json{}; }

// What Slurm says of it, seen at `now`, and where that was read.
Json job_json(const JobSighting &job, std::int64_t now) {
    Json out{{"seen", now}, {"evidence", job.evidence}, {"id", job.id.value}, {"state", job.state}, {"reason", job.reason}, {"nodes", job.nodes}, {"problem", nullptr},
             {"submitted", seconds_or_null(job.submitted)}, {"started", seconds_or_null(job.started)}, {"ended", seconds_or_null(job.ended)}};
    constexpr std::array phases{"pending", "running", "ended", "unknown"};
    out["phase"] = phases.at(static_cast<std::size_t>(job.phase));
    if (const auto problem = start_problem(job))
        out["problem"] = {{"never", problem->never}, {"why", problem->why}, {"hint", problem->hint}};
    return out;
}

template <class T> Json record_or_null(const std::optional<T> &record) { return record ? to_json(*record) : Json{}; }

constexpr std::size_t kept_lines = 20;

// What the setup said last, on the node that the outcome names.
Json setup_end(Files &files, const RunPaths &paths, const AttemptView &attempt) {
    if (!attempt.outcome || attempt.outcome->kind != OutcomeKind::setup_failed)
        return {};
    const auto folder = paths.attempt_file(attempt.no, "logs/setup");
    const auto names = files.list(folder);
    for (const auto &name : names ? *names : std::vector<std::string>{}) {
        const auto node = name.substr(0, name.rfind('.'));
        if (attempt.outcome->text.find(" " + node + ": ") == std::string::npos)
            continue;
        const auto content = files.read(join_path(folder, name));
        if (!content || !*content)
            continue;
        auto lines = split_lines(valid_utf8(**content));
        if (lines.size() > kept_lines)
            lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(kept_lines));
        return {{"node", node}, {"last_lines", lines}};
    }
    return {};
}

// Of the newest beat. What the file system does not tell is guessed from two machines' clocks.
std::int64_t beat_age_s(const DeskCall &call, const RunPaths &paths, const AttemptView &attempt) {
    if (const auto age = call.age ? call.age(paths.attempt_file(attempt.no, "progress.json")) : std::nullopt)
        return std::chrono::duration_cast<std::chrono::seconds>(*age).count();
    return std::max<std::int64_t>(0, unix_seconds(call.clock.wall()) - attempt.progress->written);
}

// Whether Slurm says what one of these jobs does.
bool any_known(const Json &jobs) {
    return std::any_of(jobs.begin(), jobs.end(), [](const Json &job) { return job.at("phase") != "unknown"; });
}

Json attempt_json(const DeskCall &call, const AttemptView &attempt, const RunPaths &paths, const std::vector<JobSighting> &jobs) {
    const auto now = unix_seconds(call.clock.wall());
    Json out{{"no", attempt.no.value}, {"jobs", Json::array()}, {"owner", nullptr}, {"standby", false}, {"rejected", nullptr},
             {"exclude_nodes", Json::array()}, {"progress", record_or_null(attempt.progress)},
             {"outcome", record_or_null(attempt.outcome)}, {"verdict", record_or_null(attempt.verdict)}};
    for (const auto &job : jobs)
        if (job.name == job_name(paths.run, attempt.no) && !is_ghost(job))
            out["jobs"].push_back(job_json(job, now));
    if (const auto owner = attempt.owner())
        out["owner"] = {{"job", owner->id == unreadable_owner ? Json{} : Json(owner->id.value)}, {"restarts", owner->restarts}, {"host", owner->host}, {"made", owner->made}};
    if (!attempt.intents.empty()) {
        out["standby"] = !attempt.owner() && attempt.intents.back().after.has_value();
        out["exclude_nodes"] = attempt.intents.back().exclude_nodes;
    }
    if (attempt.rejected)
        out["rejected"] = *attempt.rejected;
    if (attempt.progress && attempt.outcome && attempt.outcome->last_step) // the last beat was before the last step
        out["progress"]["step"] = *attempt.outcome->last_step;
    if (attempt.progress && attempt.outcome && attempt.outcome->checkpoint_step)
        out["progress"]["checkpoint_step"] = *attempt.outcome->checkpoint_step;
    if (attempt.progress)
        out["progress"]["age_s"] = beat_age_s(call, paths, attempt);
    if (!any_known(out["jobs"]) && !attempt.outcome && !attempt.verdict && !attempt.rejected)
        out["unknown_since"] = attempt.last_known();
    return out;
}

std::int64_t last_known(const RunView &view) {
    std::int64_t last = 0;
    for (const auto &attempt : view.attempts)
        last = std::max(last, attempt.last_known());
    return last;
}

bool sighted(const Reconciled &seen, const RunPaths &paths, const AttemptView &attempt) {
    return std::any_of(seen.jobs.begin(), seen.jobs.end(), [&](const JobSighting &job) { return job.name == job_name(paths.run, attempt.no); });
}

} // namespace

Result<Json> status_of(DeskCall &call, const RunPaths &paths, bool act) {
    auto run = load_run(call.files, paths);
    if (!run)
        return run.error();
    auto seen = put_right(call, *run, act);
    if (!seen)
        return seen.error();
    auto view = look_at_run(call.files, paths); // reconciling may have changed it
    if (!view)
        return view.error();
    if (act && !view->ended && view->last() != nullptr && view->last()->job && !sighted(*seen, paths, *view->last()))
        if (auto again = put_right(call, *run, false); again && sighted(*again, paths, *view->last())) { // a job of just now: Slurm was asked before it
            seen->jobs = std::move(again->jobs);
            seen->state = again->state;
        }
    const auto now = unix_seconds(call.clock.wall());
    Json out{{"format", 1}, {"run", paths.run.value}, {"name", run->info.name}, {"state", to_string(seen->state)}, {"text", seen->text},
             {"cluster", run->info.cluster}, {"owner", run->info.owner}, {"created", run->info.created}, {"now", now}, {"dir", paths.dir()},
             {"stop_wished", view->stop_wished()}, {"ended", record_or_null(view->ended)}, {"attempts", Json::array()},
             {"code", {{"hash", run->info.code_hash}, {"commit", run->info.git_commit}, {"dirty", run->info.git_dirty}}},
             {"journal_problems", read_run_journal(call.files, paths).problems}, {"problems", Json::array()}};
    for (const auto &attempt : view->attempts) {
        out["attempts"].push_back(attempt_json(call, attempt, paths, seen->jobs));
        out["attempts"].back()["setup"] = setup_end(call.files, paths, attempt);
        for (const auto &problem : attempt.problems)
            out["problems"].push_back(problem.where + ": " + problem.message);
    }
    if (seen->state == RunState::unknown)
        out["unknown_since"] = last_known(*view);
    return out;
}

Result<Json> desk_status(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    auto status = status_of(call, *paths, call.request.value("act", true));
    if (!status || !call.request.value("experiment", false))
        return status;
    auto yaml = call.files.read(paths->file("experiment.yaml"));
    if (!yaml)
        return yaml.error();
    (*status)["experiment"] = yaml->value_or("");
    return status;
}

namespace {

// One line of the list, from files alone: Slurm is asked once for all runs that have not ended.
Json list_entry(DeskCall &call, const RunPaths &paths, const RunInfo &info, const RunView &view) {
    Json out{{"run", paths.run.value}, {"name", info.name}, {"owner", info.owner}, {"created", info.created},
             {"attempts", std::count_if(view.attempts.begin(), view.attempts.end(), [](const auto &attempt) { return attempt.owner().has_value(); })},
             {"state", view.ended ? to_string(view.ended->kind) : "unknown"}, {"text", view.ended ? view.ended->why : ""},
             {"step", nullptr}, {"total_steps", nullptr}, {"loss", nullptr}, {"rate", nullptr}, {"checkpoint_step", nullptr}, {"age_s", nullptr}};
    const AttemptView *newest = nullptr;
    for (const auto &attempt : view.attempts) {
        if (!attempt.progress)
            continue;
        const Json progress = to_json(*attempt.progress);
        for (const auto *key : {"step", "total_steps", "loss", "rate", "checkpoint_step"})
            if (!progress.at(key).is_null())
                out[key] = progress.at(key);
        if (attempt.outcome && attempt.outcome->last_step)
            out["step"] = *attempt.outcome->last_step;
        if (attempt.outcome && attempt.outcome->checkpoint_step)
            out["checkpoint_step"] = *attempt.outcome->checkpoint_step;
        newest = &attempt;
    }
    if (newest != nullptr && !view.ended)
        out["age_s"] = beat_age_s(call, paths, *newest);
    if (!view.ended)
        out["unknown_since"] = last_known(view);
    return out;
}

} // namespace

Result<Json> desk_list(DeskCall &call) {
    auto names = call.files.list(join_path(call.root, "runs"));
    if (!names)
        return names.error();
    Json runs = Json::array();
    std::vector<std::string> open_names;
    std::map<std::string, std::string> run_of_job; // job name -> run
    for (const auto &name : *names) {
        const RunPaths paths{call.root, RunId{name}};
        if (!valid_run_id(name))
            continue;
        auto info = read_record_file<RunInfo>(call.files, paths.file("run.json"));
        auto view = look_at_run(call.files, paths);
        if (!info || !*info || !view) {
            runs.push_back({{"run", name}, {"name", ""}, {"state", "unknown"}, {"created", 0}, {"attempts", 0},
                            {"text", !info ? info.error().text() : !view ? view.error().text() : "it has no run.json"}});
            continue;
        }
        if (!view->ended)
            for (const auto &job : recent_job_names(*view, paths.run)) {
                open_names.push_back(job);
                run_of_job.emplace(job, name);
            }
        runs.push_back(list_entry(call, paths, **info, *view));
    }
    std::map<std::string, std::string> live;
    bool asked = true;
    if (!open_names.empty()) {
        auto found = call.scheduler.find(open_names);
        asked = found.ok();
        if (found)
            for (const auto &job : found->jobs)
                if (is_live(job) || (job.phase == JobPhase::unknown && !live.contains(run_of_job[job.name])))
                    if (auto &state = live[run_of_job[job.name]]; state != "running")
                        state = job.phase == JobPhase::running ? "running" : is_live(job) ? "pending" : "unknown";
    }
    for (auto &run : runs) {
        if (run["state"] == "unknown" && run["text"] == "" && asked)
            run["state"] = live.contains(run["run"]) ? live[run["run"]] : "starting";
        if (run["state"] != "unknown")
            run.erase("unknown_since");
    }
    std::stable_sort(runs.begin(), runs.end(), [](const Json &a, const Json &b) { return a["created"] > b["created"]; });
    return Json{{"format", 1}, {"now", unix_seconds(call.clock.wall())}, {"runs", std::move(runs)}};
}

} // namespace trainctl
