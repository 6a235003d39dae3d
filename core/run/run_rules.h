// The rules that failures of a run are judged by: the built-in ones, its cluster's on top, its own on top of these. They were
// kept in the run's folder when it was submitted.
#pragma once

#include "base/files.h"
#include "experiment/experiment.h"
#include "failure/book.h"
#include "run/protocol.h"

#include <array>
#include <string>
#include <vector>

namespace trainctl {

inline constexpr const char *cluster_rules_file = "failure_rules.cluster.yaml";
inline constexpr const char *own_rules_file = "failure_rules.yaml";
// In the order in which they are laid over each other.
inline constexpr std::array run_rules_files{cluster_rules_file, own_rules_file};

struct RunRules {
    FailureBook book = builtin_failures();
    std::vector<std::string> files;    // of the run's folder, that the book has
    std::vector<std::string> problems; // what kept one out
};

// Never fails: a file that is gone, can't be read or is no file of rules is left out, and told.
RunRules load_run_rules(Files &files, const RunPaths &paths, const Recovery &recovery);

} // namespace trainctl
