// trainctl list: the runs of a cluster.
#include "cluster_link.h"
#include "command.h"
#include "follow.h"
#include "terminal.h"

#include "base/json.h"
#include "report/report.h"

#include <memory>

namespace trainctl {

namespace {

struct Options {
    std::string cluster;
    bool json = false;
};

int list(const Options &options) {
    auto link = ClusterLink::open(options.cluster);
    if (!link)
        return report_error(link.error());
    const auto answer = link->call({{"verb", "list"}});
    if (!answer)
        return report_error(answer.error());
    print(options.json ? dump_json(*answer, 2) + "\n" : list_text(*answer, stdout_style()));
    return exit_ok;
}

} // namespace

void add_list(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("list", "List the runs of a cluster, the newest first");
    const auto options = std::make_shared<Options>();
    command->add_option("--cluster", options->cluster, "Which cluster (default: 'default', else this machine's Slurm)")->type_name("NAME");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("Example:\n  trainctl list --cluster sandbox");
    command->callback([&invocation, options] { invocation.action = [options] { return list(*options); }; });
}

} // namespace trainctl
