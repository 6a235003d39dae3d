// What a strict site, and accounting, add to a sandbox's configuration: the texts of their files. Pure.
//
// A strict site has Slurm's own scheduling and timeouts, a prolog and an epilog of a second each, refuses dependencies
// (job_submit/lua) and, where the machine allows, sbatch from nodes (AllocNodes) and memory beyond what was asked for
// (cgroups). Nodes are told from the login by the address that munged writes into credentials: nodes have a munged of
// their own, in a mount namespace of their own, and a host name of their own.
#pragma once

#include "sandbox/layout.h"

#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// Slurm's defaults in place of the plain site's. What the user chose besides is set after this.
void make_strict(SandboxSpec &spec);

// The addresses that munged writes into credentials, and Slurm's names for them on an isolated site.
inline constexpr const char *login_origin = "127.0.0.1", *nodes_origin = "127.0.0.2";
inline constexpr const char *login_host = "login", *nodes_host = "node";

std::string prolog_text(const SandboxConfig &config);
std::string epilog_text(const SandboxConfig &config);
std::string job_submit_text();
std::string cgroup_conf_text();
std::string slurmdbd_conf_text(const SandboxConfig &config);
std::vector<std::string> mariadbd_command(const SandboxConfig &config);
// /etc/hosts as slurmctld sees it: the names of the origins, then the machine's own lines.
std::string hosts_text(std::string_view of_machine);

// What kind of site it is, a line each, for people; nothing for a plain one without accounting.
std::vector<std::string> describe_site(const SandboxConfig &config);

// The account that jobs run in.
inline constexpr const char *sandbox_account = "trainctl";

} // namespace trainctl
