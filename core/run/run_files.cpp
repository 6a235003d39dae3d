#include "run/run_files.h"

#include "experiment/parse.h"
#include "experiment/placeholders.h"
#include "run/checkpoint_owner.h"
#include "script/render.h"

#include <filesystem>

namespace trainctl {

namespace {

Result<std::string> must_read(Files &files, const std::string &path) {
    auto content = files.read(path);
    if (!content)
        return content.error();
    if (!*content)
        return Error{ErrorKind::not_found, "there is no such file", path, ""};
    return std::move(**content);
}

} // namespace

std::vector<std::string> LoadedRun::missing_secrets() const {
    std::vector<std::string> out;
    for (const auto &name : experiment.environment.secrets)
        if (!secrets.contains(name))
            out.push_back(name);
    return out;
}

std::optional<RunPaths> paths_of_dir(const std::string &dir) {
    const auto runs = parent_path(dir);
    if (base_name(runs) != "runs" || !valid_run_id(base_name(dir)))
        return std::nullopt;
    return RunPaths{parent_path(runs), RunId{base_name(dir)}};
}

Result<LoadedRun> load_run(Files &files, const RunPaths &paths) {
    LoadedRun run;
    run.paths = paths;
    auto info = read_record_file<RunInfo>(files, paths.file("run.json"));
    if (!info)
        return info.error();
    if (!*info)
        return Error{ErrorKind::not_found, "there is no run " + paths.run.value, paths.dir(), "trainctl list shows the runs"};
    run.info = std::move(**info);
    auto yaml = must_read(files, paths.file("experiment.yaml"));
    auto text = must_read(files, paths.file("template.sbatch"));
    if (!yaml || !text)
        return yaml ? text.error() : yaml.error();
    run.template_text = std::move(*text);
    auto parsed = parse_experiment({*yaml, paths.file("experiment.yaml")});
    if (!parsed.ok())
        return Error{ErrorKind::invalid, parsed.text(), paths.file("experiment.yaml"), ""};
    run.experiment = std::move(parsed.experiment);
    auto secrets = files.read(paths.file("secrets.json"));
    if (!secrets)
        return secrets.error();
    if (*secrets) {
        auto json = parse_json(**secrets, paths.file("secrets.json"));
        if (!json)
            return json.error();
        for (const auto &[name, value] : json->items())
            if (value.is_string())
                run.secrets[name] = value.get<std::string>();
    }
    return run;
}

ProtocolLimits limits_of(const Experiment &experiment, const RunInfo &info) {
    ProtocolLimits limits;
    limits.lease = experiment.recovery.lease;
    limits.most_doubted_nodes = experiment.recovery.avoid_max;
    limits.horizon = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(info.submit_horizon_s));
    return limits;
}

Result<SubmitRequest> prepare_submission(Files &files, const LoadedRun &run, const MakeRequest &request) {
    if (auto owned = own_checkpoints(files, run.paths, run.experiment); !owned)
        return owned.error();
    AttemptPlan plan{run.experiment, run.paths.run, request.no, run.paths.root, run.info.agent, request.exclude_nodes, request.after};
    auto rendered = render_attempt(plan, run.template_text);
    if (!rendered)
        return rendered.error();
    SubmitRequest submit{std::move(rendered->options), run.paths.attempt_file(request.no, "script.sbatch"), run.info.job_environment};
    if (auto written = files.write(submit.script_path, rendered->script); !written)
        return written.error();
    return submit;
}

Result<std::string> checkpoint_dir(const RunPaths &paths, const Experiment &experiment) {
    auto dir = expand(experiment.checkpoint.dir, {{"run", paths.run.value}});
    if (!dir)
        return dir.error();
    // Without "..": who writes where is told by comparing these.
    auto whole = std::filesystem::path{join_path(paths.dir(), *dir)}.lexically_normal().string();
    if (whole.size() > 1 && whole.back() == '/')
        whole.pop_back();
    return whole;
}

} // namespace trainctl
