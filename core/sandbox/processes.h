// Which processes belong to a sandbox, decided from what /proc says of them now: no recorded pid is ever trusted,
// so recycled pids and reboots can't mislead. The decisions are pure; read_processes(), start_detached() and
// kill_processes() are the shell.
#pragma once

#include "base/process.h"
#include "base/result.h"
#include "sandbox/layout.h"

#include <functional>
#include <set>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace trainctl {

struct ProcessInfo {
    pid_t pid = 0, parent = 0;
    std::string program;                // name of its executable
    std::vector<std::string> arguments;
    bool marked = false;                // its environment names the state folder
    std::string node;                   // what Slurm or an agent says in its environment: where it runs
    bool holds_files = false;           // it is one of the daemons and has a file under the state folder open
};

// A daemon's own view of the machine. Nothing of it outlives the daemon and its children.
struct Isolation {
    std::string hostname;                                   // empty: the machine's
    std::vector<std::pair<std::string, std::string>> binds; // first: what is seen at the path that is second
    bool user_namespace = false;                            // we are not root
    bool wanted() const { return !hostname.empty() || !binds.empty(); }
};

// One daemon of a sandbox.
struct SandboxPart {
    std::string name;                // "munged", "slurmctld", "sshd", "n1"
    std::string program;             // "munged", "slurmctld", "sshd", "slurmd"
    std::vector<std::string> argv;   // argv[0] is looked up
    std::string proof;               // among the arguments of its process, and of no other sandbox's; empty: its mark
    std::string log, output;         // its own log, and what it wrote to stdout and stderr
    std::string node;                // of a slurmd
    int port = 0;                    // 0: it has a socket
    std::string socket;
    Isolation isolation = {};
    bool first = false;              // all that come after it need it from their first breath
};

// munged first, then those of the accounting, slurmctld, sshd, and the nodes.
std::vector<SandboxPart> sandbox_parts(const SandboxConfig &config);

// The pid of a part's main process; 0 where it does not run.
pid_t find_part(const SandboxPart &part, const std::vector<ProcessInfo> &processes);

// All processes of the sandbox: daemons, steps, jobs, sessions, and the descendants of each. Never `self` nor
// those above it, even when a user ends a sandbox from within.
std::vector<pid_t> sandbox_processes(const std::vector<ProcessInfo> &processes, pid_t self);

// Parent's pid from the text of /proc/<pid>/stat; zombies and odd texts give nothing.
std::optional<pid_t> parent_from_stat(std::string_view text);

// TCP ports somebody listens on, from the text of /proc/net/tcp.
std::set<int> listening_ports(std::string_view text);

// This user's processes.
std::vector<ProcessInfo> read_processes(const SandboxLayout &layout);
std::set<int> read_listening_ports();

struct DetachedCommand {
    std::vector<std::string> argv; // argv[0] is a path
    Environment environment;
    std::string directory;
    std::string output; // stdout and stderr are appended here; stdin is empty
    Isolation isolation = {};
};
// Starts a program in a session of its own, nobody's child, with none of our files open.
Result<void> start_detached(const DetachedCommand &command);

// Why this machine has no such isolation; empty where it has.
std::string try_isolation(const Isolation &isolation);

using ChooseProcesses = std::function<std::vector<pid_t>(const std::vector<ProcessInfo> &)>;
// Stops those that are chosen, all before it kills the first, so that none can fork away; again until none is left.
// How many. Errors: timeout, naming those that would not die.
Result<int> kill_chosen(const SandboxLayout &layout, const ChooseProcesses &choose);
// All of the sandbox.
Result<int> kill_processes(const SandboxLayout &layout);

} // namespace trainctl
