// The chips of templates/chips.yaml, and how an experiment's chips are asked of Slurm. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trainctl {

struct Chip {
    std::string vendor;       // "nvidia", "amd", "intel"
    std::string gres = "gpu"; // kind and type as Slurm's gres names them
    std::string type;
    int per_node = 1; // of a usual machine
    std::uint64_t memory_mib = 0;
};

// By name. An error in the built-in file is a programmer error: a test reads it.
const std::map<std::string, Chip> &known_chips();
std::vector<std::string> known_chip_names(); // for ExperimentText::known_chips

// "gpu:h100:8"; "gpu:8" without a chip; "" for no chips. A chip that is not known is a gpu of that type.
std::string gres_for(const std::string &chip, int per_node);

} // namespace trainctl
