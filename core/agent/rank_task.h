// What srun starts for each rank of launch kind srun (`trainctl-agent task`): fetches the rank from this node's agent,
// gives it what Slurm's step has set, and goes on as its guard. See srun_ranks.h.
#pragma once

#include "base/process.h"

#include <string>
#include <vector>

namespace trainctl {

// Of a task's environment what its rank needs: where it stands in the step, PMI, and its share of the chips. Pure.
Environment step_variables(const Environment &environment);

// `trainctl-agent task`; where and who it is stands in the environment. Until the rank's tree is dead (0), or at once
// where the generation is over (0) or the agent can't be found (1).
int rank_task_main(const std::vector<std::string> &arguments);

} // namespace trainctl
