// A checkpoint folder outside of the run's own belongs to one living run at a time. Its owners are slots in that folder,
// each made by link(): of several runs that take it over at once one gets it.
#pragma once

#include "base/files.h"
#include "experiment/experiment.h"
#include "run/records.h"

namespace trainctl {

// This run's from now on, or an error: refused where another run that has not ended has it. Asked before each sbatch,
// when run.json is there: who takes the folder later then finds a run that lives.
Result<void> own_checkpoints(Files &files, const RunPaths &paths, const Experiment &experiment);

} // namespace trainctl
