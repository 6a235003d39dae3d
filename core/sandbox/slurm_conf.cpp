#include "sandbox/layout.h"
#include "sandbox/site.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

std::string accounting_text(const SandboxConfig &config) {
    if (!config.spec.accounting)
        return "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none\n";
    std::string text = fmt::format("AccountingStorageType=accounting_storage/slurmdbd\n"
                                   "AccountingStorageHost=localhost\nAccountingStoragePort={}\n"
                                   "AccountingStoragePass={}\nAccountingStoreFlags=job_comment\n"
                                   "JobAcctGatherType=jobacct_gather/linux\n",
                                   config.ports.slurmdbd, config.munge_socket());
    if (config.spec.strict() || config.spec.max_submit_jobs > 0)
        text += "AccountingStorageEnforce=associations,limits\n";
    return text;
}

// How jobs are contained, and what they may ask for.
std::string limits_text(const SandboxConfig &config) {
    if (!config.machine.cgroups())
        return "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n"
               "SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n";
    return "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\n"
           "SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU_Memory\n"
           "# MiB for each CPU of a job that does not say --mem.\n"
           "DefMemPerCPU=4000\n";
}

std::string site_text(const SandboxConfig &config) {
    const auto &[spec, ports, layout, user, machine] = config;
    std::string text = fmt::format("SlurmdTimeout={}\n", spec.slurmd_timeout_s);
    if (!spec.strict())
        text += "# SIGKILL comes this long after SIGTERM; sites have 30.\nKillWait=5\n";
    if (spec.scheduler == "tuned")
        text += "# No pauses between an event and the scheduling that it allows; `--scheduler default` keeps Slurm's own.\n"
                "SchedulerParameters=batch_sched_delay=0,sched_interval=1\n";
    const auto prolog = spec.prolog.empty() && spec.strict() ? layout.file("etc/prolog") : spec.prolog;
    if (!prolog.empty())
        text += "Prolog=" + prolog + "\n";
    if (spec.strict())
        text += fmt::format("Epilog={}\nPrologFlags={}\nJobSubmitPlugins=lua\n", layout.file("etc/epilog"),
                            machine.cgroups() ? "Alloc,Contain" : "Alloc");
    return text;
}

std::string partitions_text(const SandboxConfig &config) {
    const std::string nodes = config.machine.isolated() ? fmt::format("Nodes=ALL AllocNodes={}", login_host) : "Nodes=ALL";
    return fmt::format("# Jobs in urgent end those in preemptible, which get SIGTERM and then the grace time.\n"
                       "PreemptType=preempt/partition_prio\nPreemptMode=CANCEL\n"
                       "PartitionName=gpu {0} Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP\n"
                       "PartitionName=short {0} PriorityTier=10 PreemptMode=OFF MaxTime=00:02:00 State=UP\n"
                       "PartitionName=down {0} PriorityTier=10 PreemptMode=OFF MaxTime=1-00:00:00 State=DOWN\n"
                       "PartitionName=preemptible {0} PriorityTier=1 GraceTime={1} MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP\n"
                       "PartitionName=urgent {0} PriorityTier=100 PreemptMode=OFF MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP\n",
                       nodes, config.spec.preempt_grace_s);
}

} // namespace

std::string slurm_conf_text(const SandboxConfig &config) {
    const auto &[spec, ports, layout, user, machine] = config;
    const int cpus = std::max(8, 2 * spec.gpus_per_node);
    std::string text = fmt::format("# Written by `trainctl sandbox up`; each `up` writes it anew.\n"
                                   "ClusterName={}\n"
                                   "SlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort={}\n"
                                   "SlurmUser={}\nSlurmdUser={}\n"
                                   "AuthType=auth/munge\nCredType=cred/munge\nAuthInfo=socket={}\n",
                                   spec.name, ports.slurmctld, user.name, user.name, config.munge_socket());
    text += fmt::format("StateSaveLocation={0}\nSlurmdSpoolDir={1}/spool/%n\n"
                        "SlurmctldPidFile={1}/slurmctld.pid\nSlurmdPidFile={1}/slurmd-%n.pid\n"
                        "SlurmctldLogFile={2}\nSlurmdLogFile={3}/log/%n.log\nSlurmctldDebug=info\nSlurmdDebug=info\n",
                        layout.file("slurmctld"), layout.sockets, layout.log("slurmctld"), layout.state);
    text += "MpiDefault=none\nSwitchType=switch/none\nMailProg=/bin/true\n" + accounting_text(config) +
            "# Nodes claim more CPUs and memory than this machine has.\n"
            "SlurmdParameters=config_overrides\n" +
            limits_text(config) +
            "# A node that answers again is used again, whatever took it down.\n"
            "ReturnToService=2\n" +
            fmt::format("TaskProlog={}\n", layout.file("etc/task_prolog")) + site_text(config);
    std::string gres;
    if (spec.gpus_per_node > 0) {
        text += "GresTypes=gpu\n";
        gres = fmt::format(" Gres=gpu:{}:{}", spec.chip, spec.gpus_per_node);
    }
    for (int i = 1; i <= spec.nodes; ++i)
        text += fmt::format("NodeName={} NodeHostname=localhost NodeAddr=127.0.0.1 Port={} CPUs={} RealMemory=512000{}\n",
                            node_name(i), ports.slurmd[static_cast<std::size_t>(i - 1)], cpus, gres);
    return text + partitions_text(config);
}

} // namespace trainctl
