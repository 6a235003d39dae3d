// What a sandbox is (a private Slurm cluster and an sshd on this machine), where its files lie, and the texts
// of its configuration files. Pure.
#pragma once

#include "base/json.h"
#include "base/result.h"
#include "cluster/profile.h"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// What the user asked for; kept in <state>/sandbox.json.
struct SandboxSpec {
    std::string name = "sandbox";
    int nodes = 8;
    int gpus_per_node = 8;
    std::string chip = "h100";
    std::string scheduler = "tuned"; // or "default": Slurm's own SchedulerParameters
    int slurmd_timeout_s = 10;       // sites have 300; tests of lost nodes can't wait for that
    std::string prolog;              // absolute path of a script, run as Prolog on each node; empty: none
    bool operator==(const SandboxSpec &) const = default;
};

struct SandboxPorts {
    int slurmctld = 0;
    int sshd = 0;
    std::vector<int> slurmd; // one for each node
    bool operator==(const SandboxPorts &) const = default;
};

// Who runs it.
struct SandboxUser {
    std::string name;
    unsigned uid = 0;
    bool pam_needed = false; // sshd refuses an account with a locked password unless PAM decides
};

// The environment variable that marks every process of a sandbox; its value is the state folder.
inline constexpr const char *sandbox_mark = "TRAINCTL_SANDBOX";

struct SandboxLayout {
    std::string state;   // absolute
    std::string sockets; // a folder with a short name: a Unix socket's path has at most 107 characters

    std::string file(std::string_view name) const { return state + "/" + std::string{name}; }
    std::string record() const { return file("sandbox.json"); }
    std::string lock() const { return file("lock"); }
    std::string slurm_conf() const { return file("etc/slurm.conf"); }
    std::string ssh_config() const { return file("ssh/config"); }
    std::string sshd_config() const { return file("ssh/sshd_config"); }
    std::string munge_socket() const { return sockets + "/munge.sock"; }
    std::string spool(const std::string &node) const { return sockets + "/spool/" + node; }
    std::string log(const std::string &part) const { return file("log/" + part + ".log"); }
    std::string root() const { return file("root"); }
};

// <state>/run where that is short enough, a private folder under /tmp otherwise.
SandboxLayout sandbox_layout(const std::string &state, unsigned uid);

// Errors: invalid, for names and paths that Slurm's or OpenSSH's files can't take.
Result<void> check_sandbox(const SandboxSpec &spec, const std::string &state);

// "n1", "n2", ...
std::string node_name(int number);

// Ports worth trying, in order, all outside the kernel's default range for outgoing connections. Another seed
// gives another order, so that two sandboxes rarely want the same ones.
std::vector<int> port_candidates(unsigned seed, int count);
// What to listen on: the first free candidates; nothing where there are too few.
Result<SandboxPorts> choose_ports(const std::vector<int> &free_candidates, int nodes);

struct SandboxConfig {
    SandboxSpec spec;
    SandboxPorts ports;
    SandboxLayout layout;
    SandboxUser user;
};

std::string slurm_conf_text(const SandboxConfig &config);
std::string gres_conf_text(const SandboxConfig &config);
// Run by Slurm before each task: its output marks the task's environment.
std::string task_prolog_text(const SandboxConfig &config);
std::string sshd_config_text(const SandboxConfig &config);
std::string ssh_config_text(const SandboxConfig &config);
// `host_key`: the content of the public key file.
std::string known_hosts_text(const SandboxConfig &config, std::string_view host_key);

// <name> over SSH and <name>-local on this machine.
std::vector<Profile> sandbox_profiles(const SandboxConfig &config);

Json sandbox_record(const SandboxSpec &spec, const SandboxPorts &ports);
struct SandboxRecord {
    SandboxSpec spec;
    SandboxPorts ports;
};
Result<SandboxRecord> parse_sandbox_record(std::string_view text, const std::string &where);

} // namespace trainctl
