// The node agent: one on each node for the life of an attempt. Connects to the head, runs setup, starts and watches
// the ranks of its node through a guard, and beats; kills them by itself when the lease ends.
#pragma once

#include "base/ids.h"
#include "cluster/agent_network.h"

#include <string>
#include <vector>

namespace trainctl {

struct NodePlan {
    std::string attempt_dir; // where head.json is
    AttemptNo attempt;
    std::string node;        // as Slurm calls it
    std::string program;     // trainctl-agent itself
    AgentNetwork network = AgentNetwork::tcp; // but for tcp, standard input and output are srun's, and for the head alone
};

// Until the head says bye (0), or the lease is over or no head was found (1). Called from the main thread.
int run_node(const NodePlan &plan);

// `trainctl-agent node --run-dir D --attempt N [--network auto|tcp|srun]`; the node's name is SLURMD_NODENAME.
int node_main(const std::vector<std::string> &arguments);

} // namespace trainctl
