#include "simulator/scenario.h"

#include "simulator/schedule.h"

namespace trainctl::sim {

Findings run_scenario(std::uint64_t seed, bool trace) { return Schedule{seed, trace}.run(); }

} // namespace trainctl::sim
