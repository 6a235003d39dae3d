#include "desk/desk.h"

#include "base/hash.h"
#include "desk/root_check.h"
#include "desk/wire.h"
#include "experiment/parse.h"
#include "run/checkpoint_owner.h"
#include "run/run_rules.h"
#include "slurm/start_check.h"

#include <array>
#include <fmt/format.h>
#include <string_view>
#include <unistd.h>

namespace trainctl {

namespace {

// All that a job's environment is made of, besides what the profile says: the same for every attempt of a run,
// whoever submits it.
constexpr std::array job_variables{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "SLURM_CONF"};

Environment job_environment(const Json &request) {
    Environment out;
    for (const auto *name : job_variables)
        if (const auto value = own_variable(name); !value.empty())
            out[name] = value;
    if (const auto extra = request.find("environment"); extra != request.end() && extra->is_object())
        for (const auto &[name, value] : extra->items())
            if (value.is_string())
                out[name] = value.get<std::string>();
    return out;
}

Result<void> make_root(DeskCall &call) {
    for (const auto *folder : {"bin", "code", "runs"})
        if (auto made = call.files.make_dirs(join_path(call.root, folder)); !made) {
            Error error = made.error();
            if (error.hint.empty())
                error.hint = "`root` in the cluster's profile must be a folder that you can write to, on a file system that all nodes share";
            return error;
        }
    return check_root(call.files, call.root, file_system_of(call.root));
}

RunInfo info_of(const DeskCall &call, const RunId &run) {
    const Json given = call.request.value("info", Json::object());
    RunInfo info;
    info.run = run;
    info.name = given.value("name", "");
    info.owner = own_variable("USER", std::to_string(::getuid()));
    info.cluster = call.text("cluster");
    info.trainctl_version = given.value("trainctl_version", "");
    info.agent = join_path(call.root, "bin/trainctl-agent-" + given.value("agent_hash", "").substr(0, agent_hash_digits));
    info.code_hash = given.value("code_hash", "");
    if (!info.code_hash.empty())
        info.code_archive = join_path(call.root, "code/" + info.code_hash + ".tar");
    info.git_commit = given.value("git_commit", "");
    info.git_dirty = given.value("git_dirty", false);
    info.job_environment = job_environment(call.request);
    info.created = unix_seconds(call.clock.wall());
    info.submit_horizon_s = given.value("submit_horizon_s", info.submit_horizon_s); // the profile's submit_retry
    info.agent_network = parse_agent_network(given.value("agent_network", "")).value_or(AgentNetwork::automatic);
    return info;
}

Result<Experiment> parsed(const std::string &yaml, const std::string &where) {
    auto experiment = parse_experiment({yaml, where});
    if (!experiment.ok())
        return Error{ErrorKind::invalid, experiment.text(), where, ""};
    return std::move(experiment.experiment);
}

// Those that the request has; an empty one goes.
Result<void> keep_rules(DeskCall &call, const RunPaths &paths) {
    const Json rules = call.request.value("rules", Json::object());
    for (const char *name : run_rules_files) {
        const auto text = rules.find(name);
        if (text == rules.end() || !text->is_string())
            continue;
        const auto kept = text->get<std::string>();
        if (auto done = kept.empty() ? call.files.remove(paths.file(name)) : call.files.write(paths.file(name), kept); !done)
            return done;
    }
    return {};
}

// Everything of the run but attempts; run.json comes last, so a run that has one is whole. A run that is refused
// leaves nothing.
Result<void> make_run(DeskCall &call, const RunPaths &paths) {
    auto there = call.files.read(paths.file("run.json"));
    if (!there)
        return there.error();
    if (*there)
        return {}; // a submit whose answer was lost
    auto experiment = parsed(call.text("experiment"), paths.file("experiment.yaml"));
    if (!experiment)
        return experiment.error();
    if (auto owned = own_checkpoints(call.files, paths, *experiment); !owned)
        return owned;
    for (const auto *folder : {"control", "journal", "attempts"})
        if (auto made = call.files.make_dirs(paths.file(folder)); !made)
            return made;
    const Json secrets = call.request.value("secrets", Json::object());
    const auto diff = from_base64(call.text("git_diff"));
    if (!diff)
        return Error{ErrorKind::invalid, "git_diff of the request is not base64", "", "trainctl and its agent are of different versions"};
    const std::pair<const char *, std::string> contents[] = {
        {"experiment.yaml", call.text("experiment")}, {"template.sbatch", call.text("template")},
        {"secrets.json", secrets.empty() ? "" : dump_json(secrets) + "\n"}, {"code.diff", *diff},
        {"code.diff.cut", call.request.value("git_diff_cut", false) ? "code.diff is not whole\n" : ""}};
    for (const auto &[name, content] : contents)
        if (!content.empty() || std::string_view{name} == "template.sbatch")
            if (auto written = call.files.write(paths.file(name), content); !written)
                return written;
    if (auto kept = keep_rules(call, paths); !kept)
        return kept;
    auto published = publish_record_file(call.files, paths.file("run.json"), info_of(call, paths.run));
    return published ? Result<void>{} : Result<void>{published.error()};
}

// Slurm takes jobs that its partition can never run: say so at once.
std::string never_starts(const std::vector<Partition> &partitions, const Resources &wanted) {
    for (const auto &partition : partitions) {
        if (wanted.partition.empty() ? !partition.is_default : partition.name != wanted.partition)
            continue;
        const int nodes = wanted.nodes + wanted.spares;
        const auto name = "partition " + partition.name;
        if (partition.state == "DOWN" || partition.state == "INACTIVE")
            return name + " is " + partition.state;
        if (partition.max_nodes && nodes > *partition.max_nodes)
            return fmt::format("{} nodes are asked for, {} allows {}", nodes, name, *partition.max_nodes);
        if (nodes > partition.total_nodes)
            return fmt::format("{} nodes are asked for, {} has {}", nodes, name, partition.total_nodes);
        if (partition.max_time && wanted.time && *wanted.time > *partition.max_time)
            return fmt::format("{} are asked for, {} allows {}", human_duration(*wanted.time), name, human_duration(*partition.max_time));
    }
    return "";
}

// What Slurm says right after sbatch, which looked for nodes at once: a limit of the site that we do not read ourselves.
std::string never_starts_by_reason(DeskCall &call, const RunPaths &paths, const AttemptView *attempt) {
    if (attempt == nullptr || attempt->owner())
        return "";
    auto found = call.scheduler.find({job_name(paths.run, attempt->no)});
    for (const auto &job : found ? found->jobs : std::vector<JobSighting>{})
        if (const auto problem = start_problem(job); problem && problem->never)
            return problem->why;
    return "";
}

// Slurm knows better than its partitions' records: a QOS may allow more.
bool found_startable(const Reconciled &seen) {
    return std::any_of(seen.jobs.begin(), seen.jobs.end(), [](const JobSighting &job) {
        return job.phase == JobPhase::running || (job.phase == JobPhase::pending && (job.reason == "Priority" || job.reason == "Resources"));
    });
}

// Its number stands in job.json; where sbatch's answer was lost, only Slurm knows it.
Json job_of(DeskCall &call, const RunPaths &paths, const AttemptView *attempt) {
    if (attempt == nullptr)
        return {};
    if (attempt->job)
        return attempt->job->id.value;
    auto found = call.scheduler.find({job_name(paths.run, attempt->no)});
    if (found)
        for (const auto &job : found->jobs)
            if (is_live(job))
                return job.id.value;
    return {};
}

} // namespace

Result<Json> desk_submit(DeskCall &call) {
    if (!valid_run_id(call.text("run")))
        return Error{ErrorKind::invalid, "this is no run id", call.text("run"), ""};
    const RunPaths paths{call.root, RunId{call.text("run")}};
    if (auto made = make_root(call); !made)
        return made.error();
    const RunInfo info = info_of(call, paths.run);
    if (!info.code_archive.empty() && ::access(info.code_archive.c_str(), R_OK) != 0)
        return Json{{"format", desk_format}, {"need_code", info.code_archive}};
    auto partitions = call.partitions(); // also asks whether Slurm answers, before anything is made
    if (!partitions)
        return partitions.error();
    if (auto made = make_run(call, paths); !made)
        return made.error();
    auto run = load_run(call.files, paths);
    if (!run)
        return run.error();
    auto seen = put_right(call, *run, true);
    if (!seen)
        return seen.error();
    auto view = look_at_run(call.files, paths);
    if (!view)
        return view.error();
    const AttemptView *first = view->find(AttemptNo{1});
    if (first != nullptr && first->rejected) {
        World world = call.world(paths);
        if (auto ended = end_run(world, paths, Ended{EndKind::failed, "sbatch refused it: " + *first->rejected, AttemptNo{1}, 0}); !ended)
            return ended.error();
        return Error{ErrorKind::refused, "sbatch refused the job: " + *first->rejected, paths.attempt_file(AttemptNo{1}, "script.sbatch"),
                     "nothing was submitted; correct the experiment and submit again"};
    }
    auto never = found_startable(*seen) ? "" : never_starts(*partitions, run->experiment.resources);
    if (never.empty())
        never = never_starts_by_reason(call, paths, first);
    Json answer{{"format", desk_format}, {"run", paths.run.value}, {"state", to_string(seen->state)}, {"dir", paths.dir()}, {"text", seen->text},
                {"job", job_of(call, paths, first)}, {"never_starts", never}};
    return answer;
}

namespace {

// The experiment that goes on: the run's own, or as the user changed it.
Result<Experiment> next_experiment(DeskCall &call, const RunPaths &paths) {
    if (const auto changed = call.text("experiment"); !changed.empty())
        return parsed(changed, "the changed experiment");
    auto run = load_run(call.files, paths);
    return run ? Result<Experiment>{std::move(run->experiment)} : Result<Experiment>{run.error()};
}

// What came before the user's resume, and is forgiven: all but an attempt that sbatch refused, which is made again.
AttemptNo last_before_resume(const RunView &view) {
    if (view.attempts.empty())
        return AttemptNo{1};
    const auto &last = *view.last();
    const bool made_again = last.rejected && last.claims.empty() && !last.verdict;
    return made_again ? AttemptNo{last.no.value - 1} : last.no;
}

// The wish first, the end last: a death in between leaves an ended run, and the user asks again.
Result<void> take_up_again(DeskCall &call, const RunPaths &paths, const RunView &view) {
    if (const auto changed = call.text("experiment"); !changed.empty())
        if (auto written = call.files.write(paths.file("experiment.yaml"), changed); !written)
            return written;
    if (auto kept = keep_rules(call, paths); !kept)
        return kept;
    if (const Json secrets = call.request.value("secrets", Json::object()); !secrets.empty())
        if (auto written = call.files.write(paths.file("secrets.json"), dump_json(secrets) + "\n"); !written)
            return written;
    if (auto removed = call.files.remove(paths.wish("stop")); !removed)
        return removed;
    const AttemptNo last = last_before_resume(view);
    auto moved = call.files.rename(paths.file("ended.json"), paths.file(retired_end(last)));
    if (!moved && moved.error().kind == ErrorKind::not_found)
        return {}; // another resume was faster
    if (moved)
        call.note(paths, last, "resumed", call.text("experiment").empty() ? "as it was" : "with a changed experiment");
    return moved;
}

} // namespace

Result<Json> desk_resume(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    auto view = look_at_run(call.files, *paths);
    if (!view)
        return view.error();
    if (view->ended && view->ended->kind == EndKind::finished)
        return Error{ErrorKind::refused, "the run has finished: there is nothing to go on with", paths->dir(), "submit a new run"};
    const bool again = view->ended.has_value();
    if (!again && view->stop_wished())
        return Error{ErrorKind::refused, "the run is being stopped and has not ended yet", paths->dir(), "wait for it: trainctl status " + paths->run.value};
    if (again) {
        auto experiment = next_experiment(call, *paths);
        if (!experiment)
            return experiment.error();
        const Json given = call.request.value("secrets", Json::object());
        for (const auto &name : experiment->environment.secrets)
            if (!given.contains(name)) // they were removed when the run ended
                return Json{{"format", desk_format}, {"need_secrets", experiment->environment.secrets}};
        if (auto owned = own_checkpoints(call.files, *paths, *experiment); !owned)
            return owned.error();
        if (auto taken = take_up_again(call, *paths, *view); !taken)
            return taken.error();
    }
    auto answer = status_of(call, *paths, true);
    if (answer)
        (*answer)["resumed"] = again;
    return answer;
}

} // namespace trainctl
