// Following a run until its end, over the desk: log lines to stdout, changes of state to stderr.
#pragma once

#include "cluster_link.h"

#include <string>

namespace trainctl {

struct FollowRequest {
    std::string run;
    bool follow = true;
    bool logs = true;       // false: only changes of state
    bool all = false;       // the agents' own logs too
    bool json = false;      // messages as they come, one JSON object in a line
    int attempt = 0;        // from this one on; 0: the newest
    std::int64_t tail = -1; // start so many lines before the end of each file; < 0: at its beginning
};

// Reconnects when the link is lost, not when there never was one, and goes on where it was. The exit code: of the run's end where it was
// followed to it, else exit_ok.
int follow_run(ClusterLink &link, const FollowRequest &request);

// 0 finished, 3 failed for good, 1 stopped or something else.
int exit_code_of(const Json &status);

// "stopped (cancelled by the user)"; a reason that only says the state again is left out.
std::string state_and_why(const Json &status);

} // namespace trainctl
