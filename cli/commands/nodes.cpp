// trainctl nodes: which nodes are avoided, why, and forgetting that.
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
    std::string what = "list", cluster;
    std::vector<std::string> nodes;
    bool json = false;
};

int nodes(const Options &options) {
    if (options.what != "clear" && !options.nodes.empty())
        return report_error({ErrorKind::invalid, "names of nodes are for `clear`", "", "trainctl nodes --help"});
    auto link = ClusterLink::open(options.cluster);
    if (!link)
        return report_error(link.error());
    const auto answer = link->call({{"verb", "nodes"}, {"clear", options.what == "clear"}, {"nodes", options.nodes}});
    if (!answer)
        return report_error(answer.error());
    if (options.json)
        print(dump_json(*answer, 2) + "\n");
    else if (options.what == "clear")
        print("forgotten: " + std::to_string(answer->value("forgotten", 0)) + "\n");
    else
        print(options.what == "report" ? nodes_report(*answer) : nodes_text(*answer, stdout_style()));
    return exit_ok;
}

} // namespace

void add_nodes(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("nodes", "Show the nodes that runs avoid, and why");
    const auto options = std::make_shared<Options>();
    command->add_option("what", options->what, "list; report: as text for an administrator; clear: forget them")
        ->check(CLI::IsMember({"list", "report", "clear"}))
        ->type_name("WHAT");
    command->add_option("node", options->nodes, "With clear: these alone")->type_name("NODE");
    command->add_option("--cluster", options->cluster, "Which cluster (default: 'default', else this machine's Slurm)")->type_name("NAME");
    command->add_flag("--json", options->json, "Print JSON");
    command->footer("A node is avoided on proof at once, on suspicion the second time, until recovery.avoid_for is over.\n"
                    "Examples:\n  trainctl nodes --cluster sandbox\n  trainctl nodes clear n3");
    command->callback([&invocation, options] { invocation.action = [options] { return nodes(*options); }; });
}

} // namespace trainctl
