// Starts, repairs, looks at and ends a sandbox: real daemons of this user on this machine, all files under one
// state folder. What is to be done follows from what runs now, so any of it may be killed at any point and the
// next call goes on. Not pure; the texts and decisions are in layout.h and processes.h.
#pragma once

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "sandbox/layout.h"
#include "sandbox/processes.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// Where a sandbox is: --state, or $XDG_STATE_HOME/trainctl/sandbox/<name>, or ~/.local/state/... Absolute.
std::string sandbox_state(const std::string &given, const std::string &name);

// Who we are; the account's name comes from the system's user database.
Result<SandboxUser> sandbox_user();

// Told as it happens: "slurmctld", "ready", 0.31 s.
using SandboxProgress = std::function<void(const std::string &what, const std::string &how, Duration took)>;

struct UpRequest {
    std::string name;
    std::function<void(SandboxSpec &)> choose; // sets what the user chose, over the defaults or over what is there
    std::string state;
    std::string profiles;    // the file of cluster profiles
    Duration deadline = std::chrono::seconds{90};
    SandboxProgress progress;
};

struct UpReport {
    SandboxConfig config;
    std::vector<std::string> started, kept; // parts
    Duration took{};
};

// Afterwards every part runs, every node takes jobs, a login over SSH works, and the profiles are registered.
// Errors: not_found (packages are missing: the hint is the command that installs them), exists (another
// sandbox is there), timeout and io with the last lines of the log concerned. What runs then stays: call again.
Result<UpReport> sandbox_up(const UpRequest &request);

struct DownReport {
    bool existed = false;
    int killed = 0; // processes
    int runs = 0;   // run directories that went with it
};
// Afterwards no process and no file of it is left, and its profiles are gone. Nothing there is no error.
Result<DownReport> sandbox_down(const std::string &name, const std::string &state, const std::string &profiles);

struct PartStatus {
    SandboxPart part;
    pid_t pid = 0;      // 0: does not run
    bool listens = false;
};
struct SandboxStatus {
    SandboxConfig config;
    std::vector<PartStatus> parts;
    std::map<std::string, std::string> nodes; // Slurm's word for each: "idle"; empty: slurmctld does not answer
    std::string problem;                      // why slurmctld does not answer
    int processes = 0;                        // all of them, jobs' included

    bool running() const; // something of it
    bool up() const;      // all of it
};
// Nothing where there is no such sandbox.
Result<std::optional<SandboxStatus>> sandbox_status(const std::string &state);
Json to_json(const SandboxStatus &status);

// Slurm's word for each node. Errors: those of run_command; unreachable with sinfo's own words.
Result<std::map<std::string, std::string>> slurm_nodes(const SandboxLayout &layout);
// Whether a node in this state runs jobs or could: "idle", "mixed", "allocated", ... without "*".
bool node_serves(const std::string &state);

// Programs that are not there, as Debian packages, in the order of `apt-get install`. Pure given `installed`.
std::vector<std::string> missing_packages(const SandboxSpec &spec, const std::function<bool(const std::string &)> &installed);
// For the sandbox's daemons and Slurm's commands, whatever the user's PATH.
inline constexpr const char *daemon_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
std::optional<std::string> find_daemon(const std::string &program); // in PATH, and where Debian keeps daemons

} // namespace trainctl
