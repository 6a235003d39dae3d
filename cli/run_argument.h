// The arguments RUN and --cluster of all commands that are about one run.
#pragma once

#include "cluster_link.h"

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace trainctl {

struct RunArgument {
    std::string run;     // its id, the beginning of it, or empty: the newest that was submitted from here
    std::string cluster; // empty: where it was submitted to, as this machine remembers
};

void add_run_argument(CLI::App &command, RunArgument &argument);

// Finds the run's cluster and calls `use`; errors are reported. The exit code.
int with_run(const RunArgument &argument, const std::function<int(ClusterLink &, const std::string &run)> &use);

} // namespace trainctl
