// What a node of the job looks like from inside the agents' step, against what Slurm says that the job has.
#pragma once

#include "agent/messages.h"
#include "base/process.h"

#include <optional>
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

// The memory that Slurm says the job has on each node, by its variables (SLURM_MEM_PER_NODE; SLURM_MEM_PER_CPU and the node
// with the fewest CPUs); 0 where they don't say. The agents' step has them no more. Pure.
std::uint64_t job_memory_mib(const Environment &environment);
// What is wrong where the cgroup allows a node's processes `limit_mib`; empty: nothing. Pure.
std::string memory_problem(std::uint64_t given_mib, std::optional<std::uint64_t> limit_mib);

// "8(x3),4" and a node's place in it: that node's number; 0 where there is none. (SLURM_JOB_CPUS_PER_NODE.)
int count_for_node(const std::string &counts, int node_index);

} // namespace trainctl
