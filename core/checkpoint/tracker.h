// The files beside checkpoints that name the last one: DeepSpeed's `latest`, Megatron-LM's latest_checkpointed_iteration.txt.
// Written when a save has ended, and read by a training that is told a folder only. Pure but for aim_tracker().
#pragma once

#include "base/files.h"
#include "checkpoint/checkpoint.h"

namespace trainctl {

inline constexpr const char *deepspeed_tracker = "latest";
inline constexpr const char *megatron_tracker = "latest_checkpointed_iteration.txt";

// What a tracker says of the checkpoints that it lies beside.
struct TrackerWord {
    std::string file;                 // its name
    std::string said;                 // as it stands there
    std::optional<std::int64_t> step; // of what it names; nothing where it is missing or was cut
    bool there = false;               // what it names lies beside it
};

// Why a checkpoint of `step` is not one whose save has ended, or "". Trackers are written in place: of one that was cut, or
// names what is gone, only the newest checkpoint is in doubt. A file that is much younger than a tracker that has come to it is
// of a save into it that has not ended.
std::string tracker_problem(const CheckpointFacts &facts, std::int64_t step, const TrackerWord &word);

// Its step where `name` is a checkpoint in this folder, by the user's pattern or else by `pattern`.
std::optional<std::int64_t> step_beside(const CheckpointFacts &facts, const std::string &name, const std::string &pattern);

struct TrackerAimed {
    std::string path, before, now;
};
// Lets the tracker of the format that `chosen` has name it, where it names another, is damaged or missing: else a training that loads by
// the folder takes a broken save or dies of the tracker, and one that a killed generation ended late would count as whole.
// Nothing: there was nothing to do. Only while no training writes to `dir`.
Result<std::optional<TrackerAimed>> aim_tracker(Files &files, const std::string &dir, const CheckpointSeen &chosen);

} // namespace trainctl
