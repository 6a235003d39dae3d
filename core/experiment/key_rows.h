// Parts of the table in keys.h that have a file of their own. Pure.
#pragma once

#include "experiment/keys.h"

namespace trainctl {

// progress, health and recovery: what is watched, and what follows from it.
std::vector<KeyRow<ExperimentDraft>> policy_rows();

} // namespace trainctl
