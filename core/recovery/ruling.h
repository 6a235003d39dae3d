// What follows from a failure: by its class, by how sure that is, and by what came before it. This is the whole policy of
// `recovery:`; `trainctl explain --policy` shows it. Pure.
#pragma once

#include "experiment/experiment.h"
#include "failure/decide.h"
#include "run/failure.h"
#include "run/view.h"

#include <map>
#include <string>
#include <vector>

namespace trainctl {

// A diagnosis as it is kept. Nothing is decided yet.
Failure failure_of(const Diagnosis &diagnosis);

struct RulingFacts {
    // Of the same run, oldest first: since its newest complete checkpoint was made, since the user's last `resume`.
    std::vector<Failure> earlier;
    // How often a node was named before, in this run or by others on this cluster, not counting expired ones.
    std::map<std::string, int> named_before;
    int avoided = 0;     // nodes, so far: suspicions alone do not add to more than recovery.avoid_max
    double chance = 0.5; // of [0, 1), for the jitter
};

// Decides: ruling, reason, avoid, roll_back and wait_s of `failure` are set.
//
// 1. A class that is stopped at once is, if the diagnosis is sure; else it has one more try.
// 2. The same error at the same step as last time, and no newer checkpoint in between: deterministic, stop.
// 3. More failures of one class in a row than its budget, without a newer checkpoint: stop.
//    Where a node is avoided from now on, that is tried first.
// 4. Nodes are avoided on proof at once, on suspicion when they were named before.
// 5. Otherwise it goes on: in place, but for classes that end the job; after the first failure in a row with a growing wait.
void rule_on(const FailureBook &book, const Recovery &recovery, const RulingFacts &facts, Failure &failure);

// Of a run's attempts: what RulingFacts.earlier wants.
std::vector<Failure> failures_without_progress(const RunView &run);

} // namespace trainctl
