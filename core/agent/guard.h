// The guard of one generation on one node: a process of its own that starts the ranks, and kills their whole trees
// when the agent says so, when the agent dies, or when the lease ends. It touches no file, so nothing can block it.
#pragma once

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"

#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

struct GuardedRank {
    Environment environment; // on top of the common one
    std::vector<int> cpus;
    std::vector<int> fds = {}; // of the guard's, for the rank under the same numbers
};

struct GuardSpec {
    std::vector<std::string> command;
    std::string directory;
    Environment environment;
    std::vector<GuardedRank> ranks;
    Instant lease_end;
};

struct GuardedExit {
    int local_rank = 0, exit_code = 0, signal = 0;
    Instant when;
    bool killed = false; // after the guard had begun to kill
};

// The agent's side.
struct Guard {
    pid_t pid = 0;
    int control = -1;              // a SOCK_SEQPACKET socket; end of file: the guard is dead
    std::vector<int> outputs;      // read ends, not blocking: stdout of rank 0, stderr of rank 0, stdout of rank 1, ...
};
// Starts `program` ("guard" as its argument): trainctl-agent.
Result<Guard> start_guard(const std::string &program, const GuardSpec &spec);
// What start_guard() is made of: the spec as the guard reads it, and a pipe for a rank's output.
Result<Fd> guard_file(const GuardSpec &spec);
Result<Pipe> output_pipe();
void tell_lease(const Guard &guard, Instant end);
void tell_signal(const Guard &guard, int signal); // to the rank processes themselves
void tell_kill(const Guard &guard);

struct GuardNews {
    std::vector<GuardedExit> exits;
    bool all_dead = false; // every descendant, whatever it did to get away
    bool doubtful = false; // something does not die
    bool gone = false;     // the guard itself is dead: kill by the mark
};
GuardNews hear_guard(const Guard &guard);

// The guard's side: `trainctl-agent guard`, with the descriptors that start_guard() passes: the control socket, the spec
// in a file, then stdout and stderr of each rank.
inline constexpr int guard_control_fd = 3, guard_spec_fd = 4, guard_first_output_fd = 5;
int run_guard();

} // namespace trainctl
