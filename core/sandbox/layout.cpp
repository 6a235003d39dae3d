#include "sandbox/layout.h"

#include "base/hash.h"
#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>

namespace trainctl {

namespace {

// sockaddr_un has room for 107 characters; slurmstepd's "/spool/n1000/n1000_4294967295.4294967295" takes 40.
constexpr std::size_t longest_socket_folder = 64;
constexpr int record_format = 1;
constexpr int first_port = 20000, last_port = 32000; // Linux gives outgoing connections 32768 and above
constexpr int most_nodes = 512;

bool plain(std::string_view text, std::string_view extra) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || extra.find(c) != std::string_view::npos;
    });
}

constexpr const char *upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

} // namespace

SandboxLayout sandbox_layout(const std::string &state, unsigned uid) {
    SandboxLayout layout{state, state + "/run"};
    if (layout.sockets.size() > longest_socket_folder)
        layout.sockets = fmt::format("/tmp/trainctl-{}-{}", uid, sha256_hex(state).substr(0, 16));
    return layout;
}

Result<void> check_sandbox(const SandboxSpec &spec, const std::string &state) {
    if (!plain(spec.name, "-") || spec.name.size() > 32 || spec.name.front() == '-')
        return Error{ErrorKind::invalid, "the name '" + spec.name + "' is not made of a-z, 0-9 and '-', at most 32", "", ""};
    // Slurm's files have no quotes for paths, and it replaces "%n" in them.
    if (!plain(state, std::string{"._/+@-"} + upper))
        return Error{ErrorKind::invalid, "Slurm can't use this state folder: only letters, digits and ._/+@- may be in its path",
                     state, "choose another one: --state /tmp/" + spec.name};
    if (spec.nodes < 1 || spec.nodes > most_nodes)
        return Error{ErrorKind::invalid, fmt::format("--nodes must be 1 to {}", most_nodes), "", ""};
    if (spec.gpus_per_node < 0 || spec.gpus_per_node > 64)
        return Error{ErrorKind::invalid, "--gpus-per-node must be 0 to 64", "", ""};
    if (!plain(spec.chip, "_-"))
        return Error{ErrorKind::invalid, "the chip '" + spec.chip + "' is not made of a-z, 0-9, '_' and '-'", "", ""};
    if (spec.scheduler != "tuned" && spec.scheduler != "default")
        return Error{ErrorKind::invalid, "--scheduler must be tuned or default", "", ""};
    if (spec.site != "plain" && spec.site != "strict")
        return Error{ErrorKind::invalid, "--site must be plain or strict", "", ""};
    if (spec.max_submit_jobs < 0 || (spec.max_submit_jobs > 0 && !spec.accounting))
        return Error{ErrorKind::invalid, "--max-submit-jobs must be 1 or more, and needs --accounting", "", ""};
    if (spec.disk_mib != 0 && (spec.disk_mib < 16 || spec.disk_mib > (1 << 20)))
        return Error{ErrorKind::invalid, fmt::format("a disk has 16 MiB to 1 TiB, not {} MiB", spec.disk_mib), "--disk", ""};
    if (spec.preempt_grace_s < 0 || spec.preempt_grace_s > 65533) // GraceTime has 16 bits
        return Error{ErrorKind::invalid, "--preempt-grace must be 0 to 65533 seconds", "", ""};
    if (spec.slurmd_timeout_s < 2)
        return Error{ErrorKind::invalid, "--slurmd-timeout must be 2 seconds or more", "", ""};
    if (!spec.prolog.empty() && (spec.prolog.front() != '/' || !plain(spec.prolog, std::string{"._/+@-"} + upper)))
        return Error{ErrorKind::invalid, "Slurm can't use this prolog: only letters, digits and ._/+@- may be in its path",
                     spec.prolog, ""};
    return {};
}

std::string node_name(int number) { return fmt::format("n{}", number); }

std::vector<int> port_candidates(unsigned seed, int count) {
    std::vector<int> ports(static_cast<std::size_t>(last_port - first_port));
    for (std::size_t i = 0; i < ports.size(); ++i)
        ports[i] = first_port + static_cast<int>(i);
    // A run of neighbours from a random start reads better in status than scattered numbers.
    std::mt19937 random{seed};
    std::rotate(ports.begin(), ports.begin() + static_cast<std::ptrdiff_t>(random() % ports.size()), ports.end());
    ports.resize(std::min(ports.size(), static_cast<std::size_t>(count)));
    return ports;
}

int ports_needed(int nodes) { return nodes + 3; }

Result<SandboxPorts> choose_ports(const std::vector<int> &free_candidates, int nodes) {
    if (free_candidates.size() < static_cast<std::size_t>(ports_needed(nodes)))
        return Error{ErrorKind::refused, fmt::format("no {} free ports between {} and {}", ports_needed(nodes), first_port, last_port),
                     "", ""};
    return SandboxPorts{free_candidates[0], free_candidates[1],
                        {free_candidates.begin() + 3, free_candidates.begin() + 3 + nodes}, free_candidates[2]};
}

std::string gres_conf_text(const SandboxConfig &config) {
    if (config.spec.gpus_per_node == 0)
        return "";
    return fmt::format("NodeName=n[1-{}] Name=gpu Type={} File={}/gpu/nvidia[0-{}]\n", config.spec.nodes, config.spec.chip,
                       config.layout.state, config.spec.gpus_per_node - 1);
}

std::string task_prolog_text(const SandboxConfig &config) {
    return fmt::format("#!/bin/sh\necho export {}={}\n", sandbox_mark, config.layout.state);
}

std::string sshd_config_text(const SandboxConfig &config) {
    const auto &layout = config.layout;
    return fmt::format("# Written by `trainctl sandbox up`; each `up` writes it anew.\n"
                       "ListenAddress 127.0.0.1:{}\n"
                       "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\n"
                       "StrictModes no\nUsePAM {}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                       "PermitRootLogin prohibit-password\nAllowUsers {}\n"
                       "UseDNS no\nPrintMotd no\nPrintLastLog no\nMaxStartups 100\nMaxSessions 100\nLogLevel VERBOSE\n"
                       "Subsystem sftp internal-sftp\n"
                       "SetEnv SLURM_CONF={} {}={}\n",
                       config.ports.sshd, layout.file("ssh/host_key"), layout.file("ssh/authorized_keys"),
                       config.user.pam_needed ? "yes" : "no", config.user.name, layout.slurm_conf(), sandbox_mark,
                       layout.state);
}

std::string ssh_config_text(const SandboxConfig &config) {
    return fmt::format("# Written by `trainctl sandbox up`; each `up` writes it anew.\n"
                       "Host {}\n    HostName 127.0.0.1\n    Port {}\n    User {}\n    IdentityFile {}\n    IdentitiesOnly yes\n"
                       "    UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n"
                       "    BatchMode yes\n",
                       config.spec.name, config.ports.sshd, config.user.name, config.layout.file("ssh/user_key"),
                       config.layout.file("ssh/known_hosts"));
}

std::string known_hosts_text(const SandboxConfig &config, std::string_view host_key) {
    const auto words = split(trim(host_key), ' '); // "ssh-ed25519 AAAA... comment"
    return fmt::format("[127.0.0.1]:{} {} {}\n", config.ports.sshd, words[0], words.size() > 1 ? words[1] : "");
}

std::vector<Profile> sandbox_profiles(const SandboxConfig &config) {
    Profile local;
    local.name = config.spec.name + "-local";
    local.root = config.layout.root();
    local.environment = {{"SLURM_CONF", config.layout.slurm_conf()}};
    Profile ssh = local;
    ssh.name = config.spec.name;
    ssh.via = Via::ssh;
    ssh.host = config.spec.name;
    ssh.ssh_config = config.layout.ssh_config();
    return {ssh, local};
}

Json sandbox_record(const SandboxRecord &record) {
    const auto &[spec, ports, machine] = record;
    return Json{{"format", record_format},
                {"name", spec.name},
                {"nodes", spec.nodes},
                {"gpus_per_node", spec.gpus_per_node},
                {"chip", spec.chip},
                {"scheduler", spec.scheduler},
                {"slurmd_timeout_s", spec.slurmd_timeout_s},
                {"prolog", spec.prolog},
                {"site", spec.site},
                {"accounting", spec.accounting},
                {"max_submit_jobs", spec.max_submit_jobs},
                {"preempt_grace_s", spec.preempt_grace_s},
                {"disk_mib", spec.disk_mib},
                {"machine",
                 {{"no_isolation", machine.no_isolation},
                  {"user_namespace", machine.user_namespace},
                  {"no_cgroups", machine.no_cgroups}}},
                {"ports",
                 {{"slurmctld", ports.slurmctld}, {"sshd", ports.sshd}, {"slurmd", ports.slurmd}, {"slurmdbd", ports.slurmdbd}}}};
}

Result<SandboxRecord> parse_sandbox_record(std::string_view text, const std::string &where) {
    auto json = parse_json(text, where);
    if (!json)
        return json.error();
    try {
        if (json->at("format").get<int>() > record_format)
            return Error{ErrorKind::invalid, "this sandbox was made by a newer trainctl", where, "use that one to end it"};
        SandboxRecord record;
        record.spec.name = json->at("name");
        record.spec.nodes = json->at("nodes");
        record.spec.gpus_per_node = json->at("gpus_per_node");
        record.spec.chip = json->at("chip");
        record.spec.scheduler = json->at("scheduler");
        record.spec.slurmd_timeout_s = json->at("slurmd_timeout_s");
        record.spec.prolog = json->at("prolog");
        // Sandboxes of earlier versions have none of these.
        record.spec.site = json->value("site", record.spec.site);
        record.spec.accounting = json->value("accounting", false);
        record.spec.max_submit_jobs = json->value("max_submit_jobs", 0);
        record.spec.disk_mib = json->value("disk_mib", record.spec.disk_mib);
        record.spec.preempt_grace_s = json->value("preempt_grace_s", record.spec.preempt_grace_s);
        const Json machine = json->value("machine", Json::object());
        record.machine.no_isolation = machine.value("no_isolation", record.machine.no_isolation);
        record.machine.user_namespace = machine.value("user_namespace", false);
        record.machine.no_cgroups = machine.value("no_cgroups", record.machine.no_cgroups);
        const auto &ports = json->at("ports");
        record.ports = {ports.at("slurmctld"), ports.at("sshd"), ports.at("slurmd").get<std::vector<int>>(),
                        ports.value("slurmdbd", 0)};
        if (record.ports.slurmd.size() != static_cast<std::size_t>(record.spec.nodes))
            return Error{ErrorKind::invalid, "ports and nodes do not fit", where, "end it: trainctl sandbox down"};
        return record;
    } catch (const Json::exception &problem) {
        return Error{ErrorKind::invalid, problem.what(), where, "end it: trainctl sandbox down"};
    }
}

} // namespace trainctl
