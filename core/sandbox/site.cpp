#include "sandbox/site.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr int default_slurmd_timeout_s = 300; // slurm.conf(5)
constexpr const char *written_by = "Written by `trainctl sandbox up`; each `up` writes it anew.";

std::string site_script(const SandboxConfig &config, const std::string &what) {
    return fmt::format("#!/bin/sh\n# {}\nPATH=/usr/bin:/bin\nscratch={}/$SLURMD_NODENAME-$SLURM_JOB_ID\n{}\n"
                       "# Those of sites take their time.\nexec sleep 1\n",
                       written_by, config.layout.file("scratch"), what);
}

} // namespace

void make_strict(SandboxSpec &spec) {
    spec.site = "strict";
    spec.scheduler = "default";
    spec.slurmd_timeout_s = default_slurmd_timeout_s;
}

std::string prolog_text(const SandboxConfig &config) { return site_script(config, "mkdir -p \"$scratch\" || exit 1"); }
std::string epilog_text(const SandboxConfig &config) { return site_script(config, "rm -rf \"$scratch\""); }

std::string job_submit_text() {
    return fmt::format("-- {}\n", written_by) + R"(local function refused(job_desc)
    if job_desc.dependency ~= nil and job_desc.dependency ~= "" then
        slurm.log_user("Job dependencies are not allowed on this cluster")
        return slurm.ERROR
    end
    return slurm.SUCCESS
end

function slurm_job_submit(job_desc, part_list, submit_uid)
    return refused(job_desc)
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return refused(job_desc)
end
)";
}

std::string cgroup_conf_text() {
    return fmt::format("# {}\nCgroupPlugin=cgroup/v1\nConstrainCores=no\nConstrainDevices=no\nConstrainRAMSpace=yes\n"
                       "ConstrainSwapSpace=no\n",
                       written_by);
}

std::string slurmdbd_conf_text(const SandboxConfig &config) {
    const auto &layout = config.layout;
    return fmt::format("# {}\nDbdHost=localhost\nDbdAddr=127.0.0.1\nDbdPort={}\nSlurmUser={}\n"
                       "AuthType=auth/munge\nAuthInfo=socket={}\nLogFile={}\nPidFile={}/slurmdbd.pid\nDebugLevel=info\n"
                       "# By the socket in MYSQL_UNIX_PORT, which knows its users from the kernel.\n"
                       "StorageType=accounting_storage/mysql\nStorageHost=localhost\nStorageUser={}\nStorageLoc=slurm_acct_db\n",
                       written_by, config.ports.slurmdbd, config.user.name, config.munge_socket(), layout.log("slurmdbd"),
                       layout.sockets, config.user.name);
}

std::vector<std::string> mariadbd_command(const SandboxConfig &config) {
    const auto &layout = config.layout;
    std::vector<std::string> argv{"mariadbd",
                                  "--no-defaults",
                                  "--datadir=" + layout.file("database"),
                                  "--socket=" + layout.database_socket(),
                                  "--pid-file=" + layout.sockets + "/mariadbd.pid",
                                  "--log-error=" + layout.log("mariadbd"),
                                  "--skip-networking",
                                  "--performance-schema=off",
                                  "--innodb-buffer-pool-size=32M",
                                  "--innodb-log-file-size=16M",
                                  "--innodb-lock-wait-timeout=900", // slurmdbd's documentation asks for it
                                  "--innodb-flush-log-at-trx-commit=0"};
    if (config.user.uid == 0)
        argv.emplace_back("--user=root"); // it won't run as root unasked
    return argv;
}

std::string hosts_text(std::string_view of_machine) {
    return fmt::format("{} {}\n{} {}\n{}", login_origin, login_host, nodes_origin, nodes_host, of_machine);
}

std::vector<std::string> describe_site(const SandboxConfig &config) {
    const auto &[spec, ports, layout, user, machine] = config;
    std::vector<std::string> lines;
    if (spec.strict()) {
        lines.emplace_back("strict site: dependencies are refused; a prolog and an epilog");
        lines.push_back(machine.isolated() ? "sbatch and srun from nodes make no new jobs: nodes have host names of their own"
                                           : "nodes may submit jobs, as this machine can't tell them apart: " + machine.no_isolation);
        lines.push_back(machine.cgroups() ? "cgroups track processes and limit memory to what the job asks for"
                                          : "no cgroups, so no limits of memory: " + machine.no_cgroups);
    }
    if (spec.accounting)
        lines.push_back(spec.max_submit_jobs == 0
                            ? fmt::format("accounting: account {}", sandbox_account)
                            : fmt::format("accounting: account {}, {} jobs at most", sandbox_account, spec.max_submit_jobs));
    return lines;
}

} // namespace trainctl
