// Starts a program with exactly the descriptors, environment, session and CPUs named, and signals as a fresh
// login has them. Does not wait for the exec: a program that can't be started says so on its own stderr and exits
// with 127, so that a hanging file system blocks the child only. Safe while other threads run.
#pragma once

#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

// A file in memory with this content, at its beginning.
Result<Fd> memory_file(const char *name, const std::string &content);
std::string read_all(int fd); // from the beginning
void set_nonblocking(int fd);

// This program's path, also when the file was replaced by the same content since it was started.
std::string own_program();

// As many descriptors at a time as this process may have: one that holds a connection for each node needs more than the
// usual 1,024. What spawn() starts gets the limit that was there before. Before there are other threads.
void raise_file_limit();

struct SpawnSpec {
    std::vector<std::string> argv; // argv[0] without a slash is looked up in PATH of `environment`
    Environment environment;
    std::string directory = {};           // empty: ours
    std::vector<std::pair<int, int>> fds = {}; // (ours, the child's); 0 is /dev/null where not named; all others are closed
    bool new_session = false;             // else a process group of its own
    bool die_with_parent = false;         // SIGKILL when the thread that called ends
    std::vector<int> cpus = {};           // empty: all that we have
};
Result<pid_t> spawn(const SpawnSpec &spec);

} // namespace trainctl
