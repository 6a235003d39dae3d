// checkpoint.keep carried out: old complete checkpoints are removed, never one that could still be needed.
#pragma once

#include "base/files.h"
#include "checkpoint/checkpoint.h"

namespace trainctl {

// Removes what checkpoints_to_remove() names in `dir`, each first renamed to a hidden name, so that nobody ever sees half of
// one, and of a single file what belongs to it: its marker, its manifest and the parts that this names. A death anywhere leaves
// what the next call finishes. Those that are to stay are read first, as far as `limits` allow: one of right sizes and wrong
// content is none of them. Says the removed paths. `in_use`: the one that a generation resumes from.
Result<std::vector<std::string>> remove_old_checkpoints(Files &files, const std::string &dir, const Checkpoint &spec,
                                                        const std::vector<std::string> &in_use, const HashLimits &limits = {});

} // namespace trainctl
