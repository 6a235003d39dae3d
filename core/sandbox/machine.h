// What this machine lets a strict site do, tried out; and the control groups that its slurmds make, which outlive
// them. Not pure.
#pragma once

#include "base/result.h"
#include "sandbox/layout.h"

namespace trainctl {

// Leaves a control group of this sandbox's name where control groups are to be used: Slurm names its own after
// nodes alone, so that only one sandbox of a machine can have them.
SandboxMachine probe_machine(const SandboxLayout &layout);

// Removes that group and, where this sandbox has control groups, all that its slurmds made. To be called when no
// process is left.
Result<void> remove_cgroups(const SandboxLayout &layout, bool in_use);

} // namespace trainctl
