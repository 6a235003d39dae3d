#include "agent/head_orders.h"

#include "agent/launch.h"
#include "base/files.h"
#include "experiment/placeholders.h"
#include "run/run_files.h"
#include "script/options.h"

namespace trainctl {

namespace {

using Values = std::map<std::string, std::string>;

Result<Values> values_of(const HeadPlan &plan, const std::optional<CheckpointSeen> &resume_from) {
    Values values{{"run", plan.paths.run.value}, {"attempt", std::to_string(plan.attempt.value)}};
    const auto dir = checkpoint_dir(plan.paths, plan.experiment);
    if (!dir)
        return dir.error();
    values["checkpoint_dir"] = *dir;
    if (resume_from) {
        values["checkpoint"] = resume_from->path;
        values["checkpoint_name"] = base_name(resume_from->path);
        if (resume_from->step != unknown_step)
            values["checkpoint_step"] = std::to_string(resume_from->step);
    }
    return values;
}

} // namespace

NodeConfig node_config(const HeadPlan &plan) {
    const Experiment &experiment = plan.experiment;
    NodeConfig out;
    out.run = plan.paths.run.value;
    out.attempt = plan.attempt.value;
    out.job = to_string(plan.job);
    out.scancel = plan.tools.scancel;
    out.slurm_conf = plan.tools.slurm_conf;
    out.run_dir = plan.paths.dir();
    out.work_dir = plan.paths.file("work");
    out.logs_dir = plan.paths.attempt_file(plan.attempt, "logs");
    out.checkpoint_dir = checkpoint_dir(plan.paths, experiment) ? *checkpoint_dir(plan.paths, experiment) : "";
    out.setup = experiment.environment.setup;
    out.patterns = experiment.progress.patterns;
    out.chip = experiment.resources.chip;
    out.chips_per_node = experiment.resources.per_node;
    out.ranks_per_node = processes_per_node(experiment);
    out.heartbeat_ms = std::chrono::milliseconds{experiment.recovery.heartbeat}.count();
    out.lease_ms = std::chrono::milliseconds{experiment.recovery.node_timeout}.count();
    out.leave_ms = std::chrono::milliseconds{experiment.recovery.lease}.count();
    out.preflight = experiment.health.preflight == Preflight::quick;
    out.check = experiment.health.check;
    out.min_free_mib = experiment.health.min_free_mib.value_or(0);
    out.memory_mib = experiment.resources.memory_mib.value_or(0);
    out.given_mib = plan.given_mib;
    return out;
}

Json to_json(const GenerationEnded &action) {
    Json out{{"generation", action.generation}, {"kind", to_string(action.kind)}, {"text", action.text}, {"trained_s", action.trained_s}};
    if (action.first)
        out["first"] = to_json(*action.first);
    return out;
}

ProgressFile progress_of(const HeadMachine &machine, const Experiment &experiment) {
    ProgressFile file;
    file.generation = machine.generation();
    file.phase = to_string(machine.phase());
    file.step = machine.progress().step;
    file.loss = machine.progress().loss;
    file.rate = machine.progress().rate;
    file.total_steps = experiment.progress.total_steps;
    if (const auto &newest = machine.checkpoint()) {
        file.checkpoint = newest->path;
        file.checkpoint_step = newest->step;
    }
    file.nodes = static_cast<int>(machine.members().size());
    file.ranks = machine.generation() > 0 ? file.nodes * processes_per_node(experiment) : 0;
    file.last_failure = machine.last_failure();
    return file;
}

HeadConfig head_config(const HeadPlan &plan, Instant now) {
    const Experiment &experiment = plan.experiment;
    HeadConfig config;
    config.nodes = plan.nodes;
    config.needed = experiment.resources.nodes;
    config.min_nodes = experiment.resources.min_nodes;
    config.ranks_per_node = processes_per_node(experiment);
    config.in_place = experiment.recovery.in_place == InPlace::on;
    config.judged = plan.judged;
    config.earlier = plan.earlier;
    config.no_progress_max = experiment.recovery.no_progress_max;
    config.lease = experiment.recovery.lease;
    config.lease_from = plan.lease_from;
    config.heartbeat = experiment.recovery.heartbeat;
    config.node_timeout = experiment.recovery.node_timeout;
    config.save_time = experiment.checkpoint.save_time;
    config.save_signal = experiment.checkpoint.save_signal;
    config.total_steps = experiment.progress.total_steps;
    if (plan.resume_from)
        config.resumed_step = plan.resume_from->step;
    if (plan.time_left)
        config.limit = now + *plan.time_left;
    config.early_signal = early_signal(experiment.checkpoint.save_time, experiment.resources.time);
    if (auto stall = stall_setting(experiment.health))
        config.stall = *stall;
    config.stall.expects_steps = plan.expects_steps || !experiment.progress.patterns.empty();
    return config;
}

int processes_per_node(const Experiment &experiment) {
    return node_command(experiment.launch, {}, {1, 0, experiment.ranks_per_node(), "", 0, "", 0, 0, ""}).processes;
}

Result<std::vector<StartSpec>> start_specs(const HeadPlan &plan, const std::optional<CheckpointSeen> &resume_from, const Meeting &meeting) {
    const auto values = values_of(plan, resume_from);
    if (!values)
        return values.error();
    StartSpec spec;
    spec.generation = meeting.generation;
    spec.nodes = static_cast<int>(meeting.nodes.size());
    spec.master_addr = meeting.master_addr;
    spec.master_port = meeting.master_port;
    auto words = plan.experiment.launch.command;
    if (resume_from)
        words.insert(words.end(), plan.experiment.checkpoint.resume_args.begin(), plan.experiment.checkpoint.resume_args.end());
    std::vector<std::string> command;
    for (const auto &word : words) {
        auto text = expand(word, *values);
        if (!text)
            return text.error();
        command.push_back(std::move(*text));
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
    spec.environment["TRAINCTL_GENERATION"] = std::to_string(meeting.generation);
    spec.environment["TRAINCTL_JOB_ID"] = to_string(plan.job);
    spec.environment["TRAINCTL_CHECKPOINT_DIR"] = values->at("checkpoint_dir");
    if (resume_from)
        spec.environment["TRAINCTL_RESUME_FROM"] = resume_from->path;
    if (resume_from && resume_from->step != unknown_step)
        spec.environment["TRAINCTL_RESUME_STEP"] = std::to_string(resume_from->step);
    std::vector<StartSpec> out;
    for (int node = 0; node < spec.nodes; ++node) {
        const auto launched = node_command(plan.experiment.launch, command,
                                           {spec.nodes, node, plan.experiment.ranks_per_node(), spec.master_addr, spec.master_port,
                                            plan.paths.run.value, plan.attempt.value, meeting.generation, to_string(plan.job)});
        auto &mine = out.emplace_back(spec);
        mine.node_rank = node;
        mine.ranks_per_node = launched.processes;
        mine.command = launched.command;
        for (const auto &[name, value] : launched.environment)
            mine.environment[name] = value;
    }
    return out;
}

} // namespace trainctl
