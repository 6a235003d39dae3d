// The database behind sacct: made once, and the cluster, the account and the user registered in it. Not pure.
#pragma once

#include "base/result.h"
#include "sandbox/layout.h"

namespace trainctl {

// Afterwards there is a database that mariadbd can serve, open to this user alone. To be called before mariadbd runs.
Result<void> make_database(const SandboxConfig &config);

// Asks the slurmdbd that runs, and adds what it doesn't know. To be called before slurmctld runs: it would register
// the cluster by itself, and find no account.
Result<void> register_account(const SandboxConfig &config);

} // namespace trainctl
