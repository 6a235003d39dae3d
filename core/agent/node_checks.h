// What a node of the job looks like from inside the agents' step, against what Slurm says that the job has.
#pragma once

#include "agent/messages.h"

#include <string>
#include <vector>

namespace trainctl {

// The CPUs that we may run on.
std::vector<int> allowed_cpus();
// The same where they are exactly the job's own; empty where the site confines nobody, so that ranks of two jobs
// on one node are not bound to the same CPUs.
std::vector<int> bindable_cpus();

struct NodeCheck {
    std::string problem; // the job is not what was asked for; empty: it is
    std::string note;    // for the log
};
NodeCheck check_node(const NodeConfig &config);

// "8(x3),4" and a node's place in it: that node's number; 0 where there is none. (SLURM_JOB_CPUS_PER_NODE.)
int count_for_node(const std::string &counts, int node_index);

} // namespace trainctl
