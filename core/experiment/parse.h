// An experiment file as a person wrote it -> Experiment, or every problem in it, each with its place. Pure.
#pragma once

#include "base/process.h"
#include "experiment/experiment.h"
#include "experiment/reader.h"

#include <map>
#include <string>
#include <vector>

namespace trainctl {

struct ExperimentText {
    std::string text;
    std::string file;                          // its name in messages
    std::vector<std::string> overrides = {};   // "key.path=value", from `--set`; "key.path=" takes the key out
    Environment environment = {};              // for ${NAME}
    std::vector<std::string> known_chips = {}; // an other chip gets a warning; empty: none
};

struct ParsedExperiment {
    Experiment experiment;                   // whole and right only if ok()
    std::vector<Problem> problems, warnings; // in the order of the file, overrides last
    // Where each key that was given stands, for problems that others find later.
    std::map<std::string, Problem> places;

    bool ok() const { return problems.empty(); }
    // All problems as lines; for commands that need one Error{invalid}.
    std::string text() const;
};

ParsedExperiment parse_experiment(const ExperimentText &input);

// As YAML that parse_experiment() reads back to an equal Experiment; what has no value is left out.
std::string emit_experiment(const Experiment &experiment);

} // namespace trainctl
