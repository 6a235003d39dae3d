// trainctl check: everything that is wrong with an experiment file, in one go.
#include "command.h"
#include "experiment_file.h"

#include "base/json.h"
#include "base/text.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

struct Options {
    ExperimentRequest request;
    bool json = false;
};

Json problems_json(const std::vector<Problem> &problems) {
    Json out = Json::array();
    for (const auto &problem : problems)
        out.push_back({{"file", problem.file}, {"line", problem.line}, {"col", problem.col}, {"message", problem.message}});
    return out;
}

// "gpt on 2 nodes x 8 h100, 16 ranks, cluster sandbox"
std::string asked_for(const LoadedExperiment &loaded) {
    const Experiment &experiment = loaded.experiment;
    const Resources &wanted = experiment.resources;
    std::string text = fmt::format("{} on {} node{}", experiment.name, wanted.nodes, wanted.nodes == 1 ? "" : "s");
    if (wanted.per_node > 0)
        text += fmt::format(" x {} {}", wanted.per_node, wanted.chip.empty() ? "gpu" : wanted.chip);
    if (wanted.spares > 0)
        text += fmt::format(" + {} spare{}", wanted.spares, wanted.spares == 1 ? "" : "s");
    const int ranks = wanted.nodes * experiment.ranks_per_node();
    text += fmt::format(", {} rank{}", ranks, ranks == 1 ? "" : "s");
    if (wanted.time)
        text += ", " + human_duration(*wanted.time) + " each attempt";
    if (!wanted.partition.empty())
        text += ", partition " + wanted.partition;
    return text + (loaded.profile.name.empty() ? ", on this machine's Slurm" : ", cluster " + loaded.profile.name);
}

int check(const Options &options) {
    const auto checked = check_experiment(options.request);
    if (options.json)
        print(dump_json({{"format", 1}, {"ok", checked.ok()}, {"problems", problems_json(checked.problems)},
                         {"warnings", problems_json(checked.warnings)}}, 2) + "\n");
    else
        print_problems(checked);
    if (!checked.ok())
        return exit_usage;
    if (!options.json)
        print("ok: " + asked_for(checked.loaded) + "\n");
    return exit_ok;
}

} // namespace

void add_check(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("check", "Say everything that is wrong with an experiment file");
    const auto options = std::make_shared<Options>();
    add_experiment_options(*command, options->request);
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Problems are lines `file:line:col: message` on stderr; the exit code is then 2.\n"
                    "Example:\n  trainctl check experiment.yaml --set resources.nodes=4");
    command->callback([&invocation, options] { invocation.action = [options] { return check(*options); }; });
}

} // namespace trainctl
