// trainctl explain: why a run did what it did; and what is done about each kind of failure.
#include "command.h"
#include "follow.h"
#include "rules_files.h"
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

// The built-in one, a cluster's, or that of a run.
int print_policy(const Options &options) {
    Json policy{{"format", 1}, {"keys", Json::array()}};
    if (!options.run.run.empty()) {
        const int code = with_run(options.run, [&](ClusterLink &link, const std::string &run) -> int {
            const auto answer = link.call({{"verb", "explain"}, {"run", run}, {"policy", true}});
            if (!answer)
                return report_error(answer.error());
            policy.update(*answer);
            return exit_ok;
        });
        if (code != exit_ok)
            return code;
    } else {
        const auto book = rules_of_cluster(options.run.cluster);
        if (!book)
            return report_error(book.error());
        policy["classes"] = classes_json(*book);
        policy["own_rules"] = own_rules_json(*book);
    }
    for (const auto &row : experiment_keys())
        if (starts_with(row.spec.path, "recovery."))
            policy["keys"].push_back({{"key", row.spec.path}, {"default", row.spec.otherwise}, {"doc", row.spec.doc}});
    print(options.json ? dump_json(policy, 2) + "\n" : policy_text(policy));
    return exit_ok;
}

int explain(const Options &options) {
    if (options.policy)
        return print_policy(options);
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
    command->add_flag("--policy", options->policy, "Print what is done about each kind of failure, and why: built in, or with --cluster or a RUN, with rules of its own");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Nothing is changed by asking.\nExamples:\n  trainctl explain gpt-k3f9x\n  trainctl explain --policy");
    command->callback([&invocation, options] { invocation.action = [options] { return explain(*options); }; });
}

} // namespace trainctl
