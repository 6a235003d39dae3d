#include "agent/head_orders.h"

#include "base/files.h"
#include "experiment/placeholders.h"
#include "run/run_files.h"

namespace trainctl {

namespace {

using Values = std::map<std::string, std::string>;

Result<Values> values_of(const HeadPlan &plan, const std::optional<CheckpointSeen> &resume_from) {
    Values values{{"run", plan.paths.run.value}, {"attempt", std::to_string(plan.attempt.value)}};
    const auto dir = checkpoint_dir(plan.paths, plan.experiment);
    if (!dir)
        return dir.error();
    values["checkpoint_dir"] = *dir;
    if (resume_from)
        values["checkpoint"] = resume_from->path;
    return values;
}

} // namespace

NodeConfig node_config(const HeadPlan &plan) {
    NodeConfig out;
    out.run = plan.paths.run.value;
    out.attempt = plan.attempt.value;
    out.job = to_string(plan.job);
    out.work_dir = plan.paths.file("work");
    out.logs_dir = plan.paths.attempt_file(plan.attempt, "logs");
    out.checkpoint_dir = checkpoint_dir(plan.paths, plan.experiment) ? *checkpoint_dir(plan.paths, plan.experiment) : "";
    out.setup = plan.experiment.environment.setup;
    out.patterns = plan.experiment.progress.patterns;
    out.chips_per_node = plan.experiment.resources.per_node;
    out.ranks_per_node = plan.experiment.launch.kind == LaunchKind::node ? 1 : plan.experiment.ranks_per_node();
    out.heartbeat_ms = std::chrono::milliseconds{plan.experiment.recovery.heartbeat}.count();
    out.lease_ms = std::chrono::milliseconds{plan.experiment.recovery.lease}.count();
    return out;
}

Result<StartSpec> start_spec(const HeadPlan &plan, const std::optional<CheckpointSeen> &resume_from) {
    const auto values = values_of(plan, resume_from);
    if (!values)
        return values.error();
    StartSpec spec;
    spec.nodes = plan.experiment.resources.nodes;
    spec.ranks_per_node = node_config(plan).ranks_per_node;
    auto words = plan.experiment.launch.command;
    if (resume_from)
        words.insert(words.end(), plan.experiment.checkpoint.resume_args.begin(), plan.experiment.checkpoint.resume_args.end());
    for (const auto &word : words) {
        auto text = expand(word, *values);
        if (!text)
            return text.error();
        spec.command.push_back(std::move(*text));
    }
    for (const auto &[name, value] : plan.experiment.environment.env) {
        auto text = expand(value, *values);
        if (!text)
            return text.error();
        spec.environment[name] = std::move(*text);
    }
    for (const auto &[name, value] : plan.secrets)
        spec.environment[name] = value;
    spec.environment["TRAINCTL_RUN"] = plan.paths.run.value;
    spec.environment["TRAINCTL_ATTEMPT"] = std::to_string(plan.attempt.value);
    spec.environment["TRAINCTL_JOB_ID"] = to_string(plan.job);
    spec.environment["TRAINCTL_CHECKPOINT_DIR"] = values->at("checkpoint_dir");
    if (resume_from)
        spec.environment["TRAINCTL_RESUME_FROM"] = resume_from->path;
    return spec;
}

} // namespace trainctl
