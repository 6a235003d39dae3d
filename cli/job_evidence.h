// A Slurm job of anybody's as evidence of why it ended: Slurm is asked on the job's cluster, and its output is read there.
#pragma once

#include "cluster_link.h"
#include "failure/evidence.h"
#include "failure/read_log.h"

#include <string>
#include <vector>

namespace trainctl {

struct JobEvidence {
    Json job;                          // what Slurm says of it, and what is to be said about that
    SlurmWord slurm;
    std::vector<LogFindings> logs;
    std::vector<std::string> problems; // files that could not be read, and why
};

// `job`: "12345", "12345_7", "12345+1". Errors: invalid where that is none; not_found, unreachable as ask_for_job.
Result<JobEvidence> look_at_job(ClusterLink &link, FailureLogReader &reader, const std::string &job);

} // namespace trainctl
