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
    std::string job = {};    // Slurm's id
};

struct NodeCommand {
    std::vector<std::string> command;
    Environment environment;  // on top of everything else
    int processes = 1;        // under the agent on this node: ranks_per_node, or one of kind node
};

// `command` has its placeholders filled in. With a preset
//   python train.py ...     is passed on as the launcher's script, "python -m pkg" as its module;
//   /venv/bin/python ...    runs that interpreter's launcher, not the one in PATH;
//   --tee 3 train.py ...    puts the user's own options of the launcher behind ours;
//   anything else           is started by the launcher as a program of its own (--no_python).
NodeCommand node_command(const Launch &launch, const std::vector<std::string> &command, const LaunchPlace &place);

} // namespace trainctl
