// trainctl stop and trainctl cancel: end a run, with a last save or without.
#include "command.h"
#include "follow.h"
#include "note.h"
#include "run_argument.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

struct StopOptions {
    RunArgument run;
    bool json = false;
};

int end_run(const StopOptions &options, const char *verb) {
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) {
        auto status = link.call({{"verb", verb}, {"run", run}}, [](const Json &message) {
            if (message.contains("progress"))
                note("{}\n", message.value("progress", ""));
            return true;
        }, patient);
        if (!status)
            return report_error(status.error());
        const bool ended = !(*status)["ended"].is_null();
        if (options.json)
            print(dump_json(*status, 2) + "\n");
        else if (ended)
            print(fmt::format("{}: {}\n", status->value("run", run), state_and_why(*status)));
        if (ended)
            return static_cast<int>(exit_ok);
        note("trainctl: error: {} has been told to end and is not at its end yet; nothing will start it again\n"
                           "hint: trainctl status {}\n", run, run);
        return static_cast<int>(exit_failed);
    });
}

void add(CLI::App &app, Invocation &invocation, const char *verb, const char *description) {
    auto *command = app.add_subcommand(verb, description);
    command->footer(fmt::format("Example:\n  trainctl {} gpt-k3f9x", verb));
    const auto options = std::make_shared<StopOptions>();
    add_run_argument(*command, options->run);
    command->add_flag("--json", options->json, "Print JSON");
    command->callback([&invocation, options, verb] { invocation.action = [options, verb] { return end_run(*options, verb); }; });
}

} // namespace

void add_stop(CLI::App &app, Invocation &invocation) {
    add(app, invocation, "stop", "End a run after a last save (checkpoint.save_signal), and wait for it");
}

void add_cancel(CLI::App &app, Invocation &invocation) {
    add(app, invocation, "cancel", "End a run at once, without a save, and wait for it");
}

} // namespace trainctl
