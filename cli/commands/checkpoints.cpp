// trainctl checkpoints: which checkpoints a run has, and which of them it would go on from.
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
    std::int64_t most = 100;
    bool json = false;
};

int checkpoints(const Options &options) {
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) -> int {
        const auto answer = link.call({{"verb", "checkpoints"}, {"run", run}, {"most", options.most}});
        if (!answer)
            return report_error(answer.error());
        print(options.json ? dump_json(*answer, 2) + "\n" : checkpoints_text(*answer, stdout_style()));
        return exit_ok;
    });
}

} // namespace

void add_checkpoints(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("checkpoints", "List a run's checkpoints: step, age, size, and whether each is complete");
    const auto options = std::make_shared<Options>();
    add_run_argument(*command, options->run);
    command->add_option("--most", options->most, "Show the newest N (default 100)")->type_name("N")->check(whole_number(1, 10'000));
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Hashes that a manifest promises are compared when a training goes on from one, and not here.\n"
                    "Example:\n  trainctl checkpoints gpt-k3f9x");
    command->callback([&invocation, options] { invocation.action = [options] { return checkpoints(*options); }; });
}

} // namespace trainctl
