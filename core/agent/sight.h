// What the agent of a node saw of a generation, beside its ranks' ends. Pure.
#pragma once

#include "failure/evidence.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

struct Sight {
    std::string node;
    int generation = 0;                    // 0: of none
    std::optional<std::int64_t> oom_kills; // by the kernel, of what lives in its ranks' memory cgroups; nothing: not known
    bool looking = false;                  // at its chips: more may come
    std::vector<Observation> observations; // their `at`: seconds since the start of the generation on that node
};

} // namespace trainctl
