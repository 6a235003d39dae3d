// The one table of the experiment file's keys. Parsing, `--set`, printing, examples/every-key.yaml's test, the schema
// and the reference follow from it. Pure.
#pragma once

#include "experiment/experiment.h"
#include "experiment/key_spec.h"

#include <optional>
#include <vector>

namespace trainctl {

// An experiment, and what is asked for another way and becomes part of it once all is read.
struct ExperimentDraft {
    Experiment experiment;
    std::optional<int> chips; // resources.chips: becomes nodes
};

// In the order of the reference.
const std::vector<KeyRow<ExperimentDraft>> &experiment_keys();

} // namespace trainctl
