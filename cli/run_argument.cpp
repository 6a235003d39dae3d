#include "run_argument.h"

#include "command.h"
#include "follow.h"
#include "run_cache.h"

namespace trainctl {

void add_run_argument(CLI::App &command, RunArgument &argument) {
    command.add_option("RUN", argument.run, "The run's id, or its beginning; the newest one where left out")->type_name("");
    command.add_option("--cluster", argument.cluster, "The cluster of the run, where this machine did not submit it")->type_name("NAME");
}

int with_run(const RunArgument &argument, const std::function<int(ClusterLink &, const std::string &run)> &use) {
    std::string run = argument.run;
    if (run.empty()) {
        const auto newest = newest_run();
        if (!newest)
            return report_error({ErrorKind::invalid, "no run was submitted from this machine", "", "name one: trainctl list --cluster NAME shows them"});
        run = *newest;
    }
    auto link = ClusterLink::of_run(run, argument.cluster);
    if (!link)
        return report_error(link.error());
    return use(*link, run);
}

} // namespace trainctl
