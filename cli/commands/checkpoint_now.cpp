// trainctl checkpoint-now: asks the training to save now, and waits until it has.
#include "command.h"
#include "follow.h"
#include "note.h"
#include "run_argument.h"

#include "base/json.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

struct Options {
    RunArgument run;
    bool json = false, no_wait = false;
};

int checkpoint_now(const Options &options) {
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) -> int {
        const auto answer = link.call({{"verb", "checkpoint-now"}, {"run", run}, {"wait", !options.no_wait}}, [](const Json &message) {
            if (message.contains("progress"))
                note("{}\n", message.value("progress", ""));
            return true;
        }, patient);
        if (!answer)
            return report_error(answer.error());
        const auto path = answer->value("path", "");
        print(options.json ? dump_json(*answer, 2) + "\n"
                           : fmt::format("{}: {}{}\n", answer->value("run", run), answer->value("text", ""), path.empty() ? "" : ", " + path));
        return exit_ok;
    });
}

} // namespace

void add_checkpoint_now(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("checkpoint-now", "Have the training save now (checkpoint.save_signal), and wait for that; it goes on");
    const auto options = std::make_shared<Options>();
    add_run_argument(*command, options->run);
    command->add_flag("--no-wait", options->no_wait, "Only ask");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("The time told is from the signal until the head saw the new checkpoint complete; it looks every second.\n"
                    "A training that ends with its save is started again from it, in the same job.\n"
                    "Example:\n  trainctl checkpoint-now gpt-k3f9x");
    command->callback([&invocation, options] { invocation.action = [options] { return checkpoint_now(*options); }; });
}

} // namespace trainctl
