// trainctl explain: why a run did what it did; and what is done about each kind of failure.
#include "command.h"
#include "follow.h"
#include "run_argument.h"
#include "terminal.h"

#include "base/json.h"
#include "base/text.h"
#include "experiment/keys.h"
#include "failure/diagnosis_json.h"
#include "report/report.h"

#include <memory>

namespace trainctl {

namespace {

struct Options {
    RunArgument run;
    bool json = false, policy = false;
};

int print_policy(bool json) {
    Json policy{{"format", 1}, {"keys", Json::array()}, {"classes", classes_json(builtin_failures())}};
    for (const auto &row : experiment_keys())
        if (starts_with(row.spec.path, "recovery."))
            policy["keys"].push_back({{"key", row.spec.path}, {"default", row.spec.otherwise}, {"doc", row.spec.doc}});
    print(json ? dump_json(policy, 2) + "\n" : policy_text(policy));
    return exit_ok;
}

int explain(const Options &options) {
    if (options.policy)
        return print_policy(options.json);
    return with_run(options.run, [&](ClusterLink &link, const std::string &run) -> int {
        const auto answer = link.call({{"verb", "explain"}, {"run", run}});
        if (!answer)
            return report_error(answer.error());
        print(options.json ? dump_json(*answer, 2) + "\n" : explain_text(*answer, stdout_style()));
        return exit_ok;
    });
}

} // namespace

void add_explain(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("explain", "Tell why a run did what it did: each failure, its evidence, the decision");
    const auto options = std::make_shared<Options>();
    add_run_argument(*command, options->run);
    command->add_flag("--policy", options->policy, "Print what is done about each kind of failure, and why");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Nothing is changed by asking.\nExamples:\n  trainctl explain gpt-k3f9x\n  trainctl explain --policy");
    command->callback([&invocation, options] { invocation.action = [options] { return explain(*options); }; });
}

} // namespace trainctl
