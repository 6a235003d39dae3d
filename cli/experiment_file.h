// Reads an experiment file as every command that takes one does: parsed, its cluster's profile found, its paths made
// absolute, its template read and rendered once. All problems come together, each with its place.
#pragma once

#include "cluster/profile.h"
#include "experiment/experiment.h"
#include "experiment/reader.h"

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace trainctl {

struct ExperimentRequest {
    std::string file;                   // as the user named it
    std::vector<std::string> overrides; // from --set
    // Instead of the file's content: a run's own experiment.yaml. Its code and template went along with the run, so
    // they are not looked for here, and template_text stays the built-in one; nor are rules, but for those that --set names.
    std::optional<std::string> text;
};

struct LoadedExperiment {
    Experiment experiment;     // with the profile's defaults; code.path, template_path and recovery.rules absolute
    Profile profile;
    std::string template_text; // of `template:`, of the user's own folder, or the built-in one
    std::string cluster_rules, own_rules; // of the profile's failure_rules and of recovery.rules; empty: none
    std::string file;
};

struct CheckedExperiment {
    LoadedExperiment loaded; // whole and right only if ok()
    std::vector<Problem> problems, warnings;
    bool ok() const { return problems.empty(); }
};

// Everything that can be known about a file without asking its cluster.
CheckedExperiment check_experiment(const ExperimentRequest &request);

// The same for commands that go on with it: warnings and problems are printed to stderr. exit_ok, or exit_usage and
// `loaded` is not to be used.
int load_experiment(const ExperimentRequest &request, LoadedExperiment &loaded);

void print_problems(const CheckedExperiment &checked);

// The arguments FILE and --set. `request` must outlive the parsing.
void add_experiment_options(CLI::App &command, ExperimentRequest &request);
// --set alone, for commands that take a run.
void add_set_option(CLI::App &command, std::vector<std::string> &overrides);

} // namespace trainctl
