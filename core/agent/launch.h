// What the agent starts on one node for one generation: the user's command, with a launcher's words before it and the
// launcher's environment, by the experiment's launch kind and preset. Pure.
#pragma once

#include "base/process.h"
#include "experiment/experiment.h"

#include <string>
#include <vector>

namespace trainctl {

// Where in a generation a node stands. ranks_per_node counts training processes, whoever starts them.
struct LaunchPlace {
    int nodes = 1, node_rank = 0, ranks_per_node = 1;
    std::string master_addr; // numeric
    int master_port = 0;     // free on the node of rank 0, new for each generation
    std::string run;
    int attempt = 0, generation = 0;
};

struct NodeCommand {
    std::vector<std::string> command;
    Environment environment;  // on top of everything else
    int processes = 1;        // that the agent starts: ranks_per_node of kind ranks, one of kind node, none of kind srun
};

// `command` has its placeholders filled in. A command that names its interpreter is passed on the way the launcher
// wants it: "python -u train.py" becomes the script "train.py" for torchrun, "python -m pkg" its module.
NodeCommand node_command(const Launch &launch, const std::vector<std::string> &command, const LaunchPlace &place);

} // namespace trainctl
