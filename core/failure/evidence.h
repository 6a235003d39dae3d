// All that is known of a run that ended, as values: what its logs say, what Slurm says, how its ranks died and what the agents
// saw. Any part may be missing. Instants are Unix seconds; only their order and differences count.
#pragma once

#include "failure/log_findings.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// Slurm's last words on the job, as sacct, squeue or scontrol write them; empty where nothing is known.
struct SlurmWord {
    std::string state;  // "NODE_FAIL", "CANCELLED by 1000", "OUT_OF_ME+"
    std::string reason; // "JobLaunchFailure"
    std::string nodes;
    // ExitCode a:b of a job that FAILED, and the signal of its DerivedExitCode: the highest of its steps.
    int exit_code = 0, exit_signal = 0, step_signal = 0;
};

// How one rank ended. Ranks that ended with 0 and those that trainctl killed itself say nothing of a cause: leave them out.
struct RankDeath {
    int rank = -1;
    std::string node;
    int exit_code = 0, signal = 0; // signal 0: it ended by itself
    std::optional<double> at;
};

// Something that an agent or a health check saw. `what` is one word that a rule knows as its fact "saw <what>":
// "oom-kill" (its cgroup counted one up), "stall", "node-lost", "gpu-ecc", "gpu-lost", "gpu-xid", "disk-full".
struct Observation {
    std::string what, node, text; // text: for people
    std::optional<int> rank;
    std::optional<double> at;
};

// A failure of the same run before this one, as it was judged.
struct EarlierFailure {
    std::string failure_class;
    std::vector<std::string> suspect_nodes;
};

struct Evidence {
    std::vector<LogFindings> logs;
    SlurmWord slurm;
    std::vector<RankDeath> deaths;
    std::vector<Observation> observations;
    // Whether the kernel killed for want of memory, where an agent could look: false rules it out.
    std::optional<bool> oom_kills;
    std::vector<EarlierFailure> earlier;
};

} // namespace trainctl
