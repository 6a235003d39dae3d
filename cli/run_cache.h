// What this machine remembers of the runs that it submitted, under $XDG_STATE_HOME/trainctl: a cache. The run
// directory on the cluster is the truth; without the cache commands need --cluster.
#pragma once

#include "base/result.h"

#include <optional>
#include <string>

namespace trainctl {

struct CachedRun {
    std::string run, cluster;
    bool answered = false;  // the cluster has said that it knows the run
    std::string submitted = {}; // a stamp that sorts; empty: now
};

Result<void> remember_run(const CachedRun &run);
// By its id, or the beginning of it where only one begins so. Errors: invalid where several do.
Result<std::optional<CachedRun>> cached_run(const std::string &wanted);
// Of those that a cluster knows.
std::optional<std::string> newest_run();
// The cluster has shown the run to its user: it is there, and a later submit of the same is another run.
void saw_run(const std::string &run);

// A submit that has not been answered yet, by what is being submitted: a second `submit` of the same goes on with
// the same run instead of making another one.
std::optional<std::string> pending_submit(const std::string &key);
// The run that is marked now: `run`, or what another submit of the same marked just before.
Result<std::string> remember_submit(const std::string &key, const std::string &run);
void forget_submit(const std::string &key, const std::string &run); // only its own mark

} // namespace trainctl
