// What a run was submitted with, read back from its directory, and the next submission made from it. The same for
// the desk on the login node and the head in the job.
#pragma once

#include "base/files.h"
#include "experiment/experiment.h"
#include "run/protocol.h"

namespace trainctl {

struct LoadedRun {
    RunPaths paths;
    RunInfo info;
    Experiment experiment;
    std::string template_text;
    Environment secrets; // names and values; for the ranks' environment only; none once the run has ended
    std::vector<std::string> missing_secrets() const; // that the experiment names
};

// `dir` is <root>/runs/<run id>.
std::optional<RunPaths> paths_of_dir(const std::string &dir);
Result<LoadedRun> load_run(Files &files, const RunPaths &paths);

ProtocolLimits limits_of(const Experiment &experiment, const RunInfo &info);

// Renders the attempt's script into its folder and gives what sbatch needs; refused where another living run has taken
// the checkpoint folder.
Result<SubmitRequest> prepare_submission(Files &files, const LoadedRun &run, const MakeRequest &request);

// checkpoint.dir with its placeholders filled in, absolute.
Result<std::string> checkpoint_dir(const RunPaths &paths, const Experiment &experiment);

} // namespace trainctl
