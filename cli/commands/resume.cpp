// trainctl resume: goes on with a run that was stopped or failed for good, or puts a living one right.
#include "command.h"
#include "experiment_file.h"
#include "follow.h"
#include "note.h"
#include "run_argument.h"
#include "secrets.h"

#include "experiment/parse.h"
#include "run/run_rules.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

struct ResumeOptions {
    RunArgument run;
    std::vector<std::string> overrides;
    bool wait = false, json = false;
};

// Into the request: the run's experiment with --set applied, and the rules that --set names; empty where nothing was set.
// exit_ok or the code to end with.
int add_changes(ClusterLink &link, const std::string &run, const ResumeOptions &options, Json &request_of_resume) {
    request_of_resume["experiment"] = "";
    if (options.overrides.empty())
        return exit_ok;
    for (const auto &set : options.overrides)
        for (const char *fixed : {"name", "cluster", "template", "code"})
            if (const auto key = set.substr(0, set.find_first_of("=.")); key == fixed)
                return report_error({ErrorKind::invalid, fmt::format("{} can't be changed in a run that is there", set.substr(0, set.find('='))), "--set",
                                     "submit a new run; checkpoint.dir can name the folder of this one's checkpoints"});
    auto status = link.call({{"verb", "status"}, {"run", run}, {"act", false}, {"experiment", true}});
    if (!status)
        return report_error(status.error());
    if ((*status)["ended"].is_null()) {
        note("trainctl: error: {} has not ended: a living run can't be changed\nhint: trainctl stop {} first\n", run, run);
        return exit_failed;
    }
    ExperimentRequest request;
    request.file = run;
    request.overrides = options.overrides;
    request.text = status->value("experiment", "");
    LoadedExperiment loaded;
    if (const int code = load_experiment(request, loaded); code != exit_ok)
        return code;
    request_of_resume["experiment"] = emit_experiment(loaded.experiment);
    if (!loaded.own_rules.empty() || loaded.experiment.recovery.rules.empty())
        request_of_resume["rules"] = {{own_rules_file, loaded.own_rules}};
    return exit_ok;
}

int resume(const ResumeOptions &options) {
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) {
        Json request{{"verb", "resume"}, {"run", run}};
        if (const int code = add_changes(link, run, options, request); code != exit_ok)
            return code;
        auto status = link.call(request);
        if (status && status->contains("need_secrets")) {
            if (const int code = read_secrets((*status)["need_secrets"], request["secrets"]); code != exit_ok)
                return code;
            status = link.call(request);
        }
        if (!status)
            return report_error(status.error());
        if (options.json)
            print(dump_json(*status, 2) + "\n");
        else
            print(fmt::format("{}: {}\n", status->value("run", run), state_and_why(*status)));
        if (!options.wait)
            return static_cast<int>(exit_ok);
        FollowRequest follow;
        follow.run = status->value("run", run);
        follow.logs = false;
        return follow_run(link, follow);
    });
}

} // namespace

void add_resume(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("resume", "Go on with a run that was stopped or failed; from its newest complete checkpoint");
    command->footer("Secrets leave the cluster when a run ends: those of the experiment are taken from the environment here.\n"
                    "Examples:\n  trainctl resume gpt-k3f9x\n  trainctl resume gpt-k3f9x --set resources.time=48h");
    const auto options = std::make_shared<ResumeOptions>();
    add_run_argument(*command, options->run);
    add_set_option(*command, options->overrides);
    command->add_flag("--wait", options->wait, "Stay until the run's end; the exit code tells how it ended");
    command->add_flag("--json", options->json, "Print JSON");
    command->callback([&invocation, options] { invocation.action = [options] { return resume(*options); }; });
}

} // namespace trainctl
