// The arguments that sbatch gets for one attempt. Everything that matters is here and not in #SBATCH lines, which
// SBATCH_* variables of a user's shell would override. Pure.
#pragma once

#include "script/render.h"

#include <chrono>
#include <string>
#include <vector>

namespace trainctl {

// <root>/runs/<run> and <root>/runs/<run>/attempts/NNN.
std::string run_folder(const AttemptPlan &plan);
std::string attempt_folder(const AttemptPlan &plan);

// The script's own output, in an attempt's logs/.
inline constexpr const char *batch_log = "batch.log";

// In a fixed order, the user's own (resources.sbatch) last: where one of those lacks its value, sbatch takes the
// script's path for it and refuses, instead of losing one of ours. Errors: invalid, `where` is the key.
Result<std::vector<std::string>> sbatch_options(const AttemptPlan &plan);

// How long before the job's limit Slurm is asked for its early signal (--signal): it may come a minute earlier, never later.
std::chrono::seconds early_signal(std::chrono::seconds save_time, std::optional<std::chrono::seconds> limit);

} // namespace trainctl
