// `--set key.path=value` laid over a YAML tree, before any of it is read. Pure.
#pragma once

#include "experiment/yaml_tree.h"

#include <string>
#include <vector>

namespace trainctl {

// The n-th override's nodes have Position::source n (from 1). What can't be laid over becomes a finding.
void apply_overrides(YamlNode &root, const std::vector<std::string> &overrides, std::vector<Finding> &findings);

} // namespace trainctl
