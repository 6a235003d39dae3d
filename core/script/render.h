// One attempt as Slurm gets it: sbatch's arguments and the batch script, from a mustache template. Pure.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "experiment/experiment.h"

#include <optional>
#include <string>
#include <vector>

namespace trainctl {

struct AttemptPlan {
    Experiment experiment;         // with the profile's defaults filled in
    RunId run;
    AttemptNo no;
    std::string root;              // the run root, absolute
    std::string agent;             // <root>/bin/trainctl-agent-<hash>; the script adds "-$(uname -m)"
    std::vector<std::string> exclude_nodes;
    std::optional<JobId> after;    // a standby: starts when this job ends badly
};

struct RenderedAttempt {
    std::vector<std::string> options; // for sbatch's command line, "--job-name=..." and so on
    std::string script;
};

// Errors: invalid (the template, with its own position; a value that Slurm can't take, such as a newline).
Result<RenderedAttempt> render_attempt(const AttemptPlan &plan, const std::string &template_text);

// The template that is compiled in, by name ("slurm").
const std::string &builtin_template(const std::string &name);

} // namespace trainctl
