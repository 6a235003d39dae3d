// trainctl logs: what the ranks print, across nodes, generations and attempts.
#include "command.h"
#include "follow.h"
#include "run_argument.h"

#include <memory>

namespace trainctl {

constexpr std::int64_t most_tail = 1'000'000'000; // lines: more is the whole file

void add_logs(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("logs", "Print or follow what the ranks print");
    command->footer("Examples:\n  trainctl logs gpt-k3f9x --tail 50\n  trainctl logs -f gpt-k3f9x");
    struct Options {
        RunArgument run;
        FollowRequest follow;
    };
    const auto options = std::make_shared<Options>();
    options->follow.follow = false;
    add_run_argument(*command, options->run);
    command->add_flag("-f,--follow", options->follow.follow, "Go on until the run's end, across its attempts");
    command->add_option("--tail", options->follow.tail, "Start N lines before the end of each file")->type_name("N")->check(whole_number(0, most_tail));
    command->add_option("--attempt", options->follow.attempt, "Start with attempt N instead of the newest")->type_name("N")->check(whole_number(1, most_attempts));
    command->add_flag("--all", options->follow.all, "The agents' own logs too");
    command->add_flag("--json", options->follow.json, "Print JSON, one object in a line");
    command->callback([&invocation, options] {
        invocation.action = [options] {
            return with_run(options->run, [&](ClusterLink &link, const std::string &run) {
                options->follow.run = run;
                return follow_run(link, options->follow);
            });
        };
    });
}

} // namespace trainctl
