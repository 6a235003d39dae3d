// Going on from an older checkpoint than the newest one, on purpose: those that are newer get another name, so that no later
// start takes them. Their content stays.
#pragma once

#include "base/files.h"
#include "checkpoint/checkpoint.h"

namespace trainctl {

// The complete checkpoint `count` before the newest complete one, or the oldest there is; newer ones are renamed to
// <name>.rolled-back, with a number where that name is taken. Nothing: there is no complete one. A death in between leaves
// fewer to rename for the next call, never a gap.
Result<std::optional<CheckpointSeen>> roll_back(Files &files, const std::string &dir, const Checkpoint &spec, int count, const HashLimits &limits);

} // namespace trainctl
