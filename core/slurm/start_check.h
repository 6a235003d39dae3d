// Whether a job that Slurm accepted can start at all, from the reason that Slurm gives for its waiting. Slurm
// takes jobs that can never run (nodes or time over the partition's limit, a partition that is down). Pure.
#pragma once

#include "slurm/scheduler.h"

#include <optional>
#include <string>

namespace trainctl {

struct StartProblem {
    bool never = false; // not without a change by somebody; false: it waits, and for something worth saying
    std::string why;    // "it asks for more nodes than partition limits allow (PartitionNodeLimit)"
    std::string hint;   // what to do; may be empty
};

// Nothing for jobs that do not wait and for ordinary waiting: Priority, Resources, Dependency, None, ... The reason
// shows after the scheduler's first look: a "None" right after sbatch is no answer yet.
std::optional<StartProblem> start_problem(const JobSighting &job);
// The same from the reason alone, as squeue, scontrol or sinfo write it: "(ReqNodeNotAvail, UnavailableNodes:n1)".
std::optional<StartProblem> start_problem_of_reason(std::string_view reason);

} // namespace trainctl
