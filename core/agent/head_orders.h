// What follows from a plan: the configuration of the head's machine and of the nodes, and a generation's start. Pure.
#pragma once

#include "agent/head_machine.h"
#include "agent/messages.h"

namespace trainctl {

HeadConfig head_config(const HeadPlan &plan, Instant now);
// Of the machine's and the experiment's part; the rest is the head's own.
ProgressFile progress_of(const HeadMachine &machine, const Experiment &experiment);
Json to_json(const GenerationEnded &action);
NodeConfig node_config(const HeadPlan &plan);

// Processes that the agents start on each node.
int processes_per_node(const Experiment &experiment);

// Where a generation's ranks meet.
struct Meeting {
    int generation = 1;
    std::vector<std::string> nodes; // in the order of ranks
    std::string master_addr;
    int master_port = 0;
};

// What each node of the meeting gets, in its order. Errors: invalid, for a placeholder that has no value.
Result<std::vector<StartSpec>> start_specs(const HeadPlan &plan, const std::optional<CheckpointSeen> &resume_from, const Meeting &meeting);

} // namespace trainctl
