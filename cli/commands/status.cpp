// trainctl status: what a run does now, and why it ended.
#include "command.h"
#include "follow.h"
#include "run_argument.h"
#include "terminal.h"

#include "base/json.h"
#include "report/report.h"

#include <memory>

namespace trainctl {

namespace {

struct Options {
    RunArgument run;
    bool json = false, no_act = false;
};

int status(const Options &options) {
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) -> int {
        const auto answer = link.call({{"verb", "status"}, {"run", run}, {"act", !options.no_act}});
        if (!answer)
            return report_error(answer.error());
        print(options.json ? dump_json(*answer, 2) + "\n" : status_text(*answer, stdout_style()));
        const auto state = answer->value("state", "");
        return state == "failed" ? exit_run_failed : state == "unknown" ? exit_unreachable : exit_ok;
    });
}

} // namespace

void add_status(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("status", "Show what a run does now, its attempts, and why it ended");
    const auto options = std::make_shared<Options>();
    add_run_argument(*command, options->run);
    command->add_flag("--no-act", options->no_act, "Only look: do not go on with a run whose last attempt has ended");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Where the next attempt is missing, it is submitted on the way.\n"
                    "Exit codes: 3 the run failed for good, 4 the cluster or its Slurm does not answer.\n"
                    "Example:\n  trainctl status gpt-k3f9x");
    command->callback([&invocation, options] { invocation.action = [options] { return status(*options); }; });
}

} // namespace trainctl
