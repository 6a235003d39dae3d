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
    std::string site = "plain";      // or "strict": with the rules and delays that sites have
    bool accounting = false;         // MariaDB and slurmdbd, for sacct
    int max_submit_jobs = 0;         // of the user's account, pending and running; 0: no limit
    int disk_mib = 0;                // the run root's file system, in memory; 0: that of the state folder
    int preempt_grace_s = 10;        // from SIGTERM to SIGKILL for jobs in the partition preemptible

    bool strict() const { return site == "strict"; }
    bool operator==(const SandboxSpec &) const = default;
};

struct SandboxPorts {
    int slurmctld = 0;
    int sshd = 0;
    std::vector<int> slurmd; // one for each node
    int slurmdbd = 0;
    bool operator==(const SandboxPorts &) const = default;
};

// Who runs it.
struct SandboxUser {
    std::string name;
    unsigned uid = 0;
    bool pam_needed = false; // sshd refuses an account with a locked password unless PAM decides
};

// What this machine lets a strict site do; found out once, when it is made. An empty reason: it does.
struct SandboxMachine {
    std::string no_isolation = "not asked for"; // nodes with host names of their own, from which sbatch is refused
    bool user_namespace = false;                // isolation needs one: we are not root
    std::string no_cgroups = "not asked for";   // processes tracked, and memory limited, by cgroups

    bool isolated() const { return no_isolation.empty(); }
    bool cgroups() const { return no_cgroups.empty(); }
    bool operator==(const SandboxMachine &) const = default;
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
    std::string database_socket() const { return sockets + "/database.sock"; }
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
int ports_needed(int nodes);

struct SandboxConfig {
    SandboxSpec spec;
    SandboxPorts ports;
    SandboxLayout layout;
    SandboxUser user;
    SandboxMachine machine;

    // In folders of their own where the nodes see another munged at the login's path.
    std::string munge_socket() const { return layout.sockets + (machine.isolated() ? "/munge-login" : "") + "/munge.sock"; }
    std::string node_munge_socket() const { return layout.sockets + "/munge-nodes/munge.sock"; }
};

std::string slurm_conf_text(const SandboxConfig &config); // in slurm_conf.cpp
std::string gres_conf_text(const SandboxConfig &config);
// Run by Slurm before each task: its output marks the task's environment.
std::string task_prolog_text(const SandboxConfig &config);
std::string sshd_config_text(const SandboxConfig &config);
std::string ssh_config_text(const SandboxConfig &config);
// `host_key`: the content of the public key file.
std::string known_hosts_text(const SandboxConfig &config, std::string_view host_key);

// <name> over SSH and <name>-local on this machine.
std::vector<Profile> sandbox_profiles(const SandboxConfig &config);

struct SandboxRecord {
    SandboxSpec spec;
    SandboxPorts ports;
    SandboxMachine machine;
};
Json sandbox_record(const SandboxRecord &record);
Result<SandboxRecord> parse_sandbox_record(std::string_view text, const std::string &where);

} // namespace trainctl
