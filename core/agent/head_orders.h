// What the nodes get from a plan: their configuration, and a generation's start. Pure.
#pragma once

#include "agent/head.h"
#include "agent/messages.h"

namespace trainctl {

NodeConfig node_config(const HeadPlan &plan);

// The command and the environment of all ranks; what differs by node is left open. Errors: invalid, for a
// placeholder that has no value.
Result<StartSpec> start_spec(const HeadPlan &plan, const std::optional<CheckpointSeen> &resume_from);

} // namespace trainctl
