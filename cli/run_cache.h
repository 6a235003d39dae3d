// What this machine remembers of the runs that it submitted, under $XDG_STATE_HOME/trainctl: a cache. The run
// directory on the cluster is the truth; without the cache commands need --cluster.
#pragma once

#include "base/result.h"

#include <optional>
#include <string>

namespace trainctl {

struct CachedRun {
    std::string run, cluster;
};

Result<void> remember_run(const CachedRun &run);
std::optional<CachedRun> cached_run(const std::string &run);
std::optional<std::string> newest_run();

// A submit that has not been answered yet, by what is being submitted: a second `submit` of the same goes on with
// the same run instead of making another one. Empty `run` in forget: nothing to do.
std::optional<std::string> pending_submit(const std::string &key);
Result<void> remember_submit(const std::string &key, const std::string &run);
void forget_submit(const std::string &key);

} // namespace trainctl
