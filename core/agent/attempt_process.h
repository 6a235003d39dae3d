// The batch job's process: reads its run, claims the attempt, trains through run_head and ends as the protocol
// says. Never returns, so that a file system that hangs can't keep the job from ending.
#pragma once

#include <string>
#include <vector>

namespace trainctl {

// Arguments: --run-dir DIR --attempt NNN, as the batch script gives them.
[[noreturn]] void attempt_main(const std::vector<std::string> &arguments);

} // namespace trainctl
