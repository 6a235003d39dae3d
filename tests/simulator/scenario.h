// One schedule: a run that is submitted, trained, broken and reconciled by several actors under seeded faults.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trainctl::sim {

struct Findings {
    std::vector<std::string> broken; // invariants that did not hold, with the time; empty: all did
    std::string end;                 // how the run ended
    int attempts = 0, jobs = 0, training_starts = 0;
    std::uint64_t effects = 0, sbatch_calls = 0, same_name_twice = 0;
    std::uint64_t generations = 0, crashes = 0, hangs = 0, saves = 0, late_writes = 0, abandoned = 0, rulings = 0;
    std::uint64_t waited_for_limit = 0; // jobs without a head that only their time limit ended
    std::uint64_t digest = 0;        // of everything that happened, for replays
};

// trace: prints what the heads note, with virtual times.
Findings run_scenario(std::uint64_t seed, bool trace = false);

} // namespace trainctl::sim
