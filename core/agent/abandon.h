// A head that is gone with its node leaves a job behind that Slurm keeps running (--no-kill takes the node out of it), so
// that no standby starts. An agent on a node that is left ends the job then, on this evidence alone: the head's beat, on
// the shared file system, stood still for a lease, and by then a head that lives has killed its ranks itself.
#pragma once

#include "base/clock.h"
#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>

namespace trainctl {

// What the head's beat file holds now, as a number that changes with it. Nothing: it can't be read, or the head said its
// last word. Both functions may hang as long as the file system does.
std::optional<std::uint64_t> look_at_beat(const std::string &attempt_dir, const std::string &node);

// Leaves abandoned.json, so that nobody takes the scancel that follows for the user's wish.
Result<void> note_abandoned(const std::string &attempt_dir, const std::string &node, const std::string &why);

} // namespace trainctl
