#include "sandbox/sandbox.h"

#include "base/files.h"
#include "base/text.h"
#include "sandbox/faults.h"
#include "sandbox/machine.h"
#include "sandbox/site.h"
#include "sandbox/state_lock.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <pwd.h>
#include <shadow.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr auto lock_deadline = std::chrono::seconds{180}; // longer than an `up` may take

// Debian's package for each program that a sandbox starts or calls.
struct Needed {
    const char *program, *package;
    bool for_accounting = false;
};
constexpr std::array needed = {Needed{"slurmctld", "slurm-wlm"}, Needed{"slurmd", "slurm-wlm"},
                               Needed{"sinfo", "slurm-wlm"},     Needed{"sbatch", "slurm-wlm"},
                               Needed{"munged", "munge"},        Needed{"sshd", "openssh-server"},
                               Needed{"ssh", "openssh-client"},  Needed{"ssh-keygen", "openssh-client"},
                               Needed{"mariadbd", "mariadb-server", true},
                               Needed{"mariadb-install-db", "mariadb-server", true},
                               Needed{"slurmdbd", "slurmdbd", true}};

Result<std::optional<SandboxRecord>> read_record(const SandboxLayout &layout) {
    const auto text = PosixFiles{}.read(layout.record());
    if (!text)
        return text.error();
    if (!*text)
        return std::optional<SandboxRecord>{};
    auto record = parse_sandbox_record(**text, layout.record());
    if (!record)
        return record.error();
    return std::optional{*record};
}

Result<void> remove_tree(const std::string &path) {
    std::error_code code;
    std::filesystem::remove_all(path, code);
    if (code)
        return errno_error(code.value(), "cannot remove", path);
    return {};
}

} // namespace

std::optional<std::string> find_daemon(const std::string &program) {
    return find_program(program, own_variable("PATH", "/usr/bin:/bin") + ":" + daemon_path);
}

std::vector<std::string> missing_packages(const SandboxSpec &spec, const std::function<bool(const std::string &)> &installed) {
    std::vector<std::string> missing;
    for (const auto &[program, package, for_accounting] : needed)
        if ((spec.accounting || !for_accounting) && !installed(program) && std::find(missing.begin(), missing.end(), package) == missing.end())
            missing.emplace_back(package);
    return missing;
}

std::string sandbox_state(const std::string &given, const std::string &name) {
    if (!given.empty())
        return std::filesystem::absolute(given).lexically_normal().string();
    std::string home = own_variable("XDG_STATE_HOME");
    if (home.empty() || home.front() != '/')
        home = join_path(own_variable("HOME", "/tmp"), ".local/state");
    return join_path(home, "trainctl/sandbox/" + name);
}

Result<SandboxUser> sandbox_user() {
    const passwd *entry = ::getpwuid(::geteuid());
    if (entry == nullptr)
        return Error{ErrorKind::not_found, "this user has no entry in the system's user database: sshd would refuse it", "",
                     "run the sandbox as a user with an account"};
    SandboxUser user{entry->pw_name, ::geteuid(), false};
    if (const spwd *shadow = ::getspnam(entry->pw_name); shadow != nullptr && shadow->sp_pwdp != nullptr)
        user.pam_needed = shadow->sp_pwdp[0] == '!';
    return user;
}

Result<std::map<std::string, std::string>> slurm_nodes(const SandboxLayout &layout) {
    const auto result = run_command({.argv = {"sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%N|%T"},
                                     .input = "",
                                     .environment = Environment{{"PATH", daemon_path}, {"SLURM_CONF", layout.slurm_conf()}},
                                     .deadline = std::chrono::seconds{15}});
    if (!result)
        return result.error();
    if (!result->ok())
        return Error{ErrorKind::unreachable, std::string{trim(result->err)}, "sinfo", ""};
    std::map<std::string, std::string> nodes;
    for (const auto &line : split_lines(result->out))
        if (const auto bar = line.find('|'); bar != std::string::npos)
            nodes[line.substr(0, bar)] = line.substr(bar + 1);
    return nodes;
}

bool node_serves(const std::string &state) {
    constexpr std::array serving = {"idle", "mixed", "allocated", "completing", "planned", "reserved"};
    // "-" at the end: the scheduler plans to use the node, which serves meanwhile.
    const auto word = std::string_view{state}.substr(0, state.size() - (ends_with(state, "-") ? 1 : 0));
    return std::find(serving.begin(), serving.end(), word) != serving.end();
}

bool SandboxStatus::running() const { return processes > 0; }

bool SandboxStatus::up() const {
    return std::all_of(parts.begin(), parts.end(), [](const auto &part) { return part.pid != 0 && part.listens; }) &&
           static_cast<int>(nodes.size()) == config.spec.nodes &&
           std::all_of(nodes.begin(), nodes.end(), [](const auto &node) { return node_serves(node.second); });
}

Result<std::optional<SandboxStatus>> sandbox_status(const std::string &state) {
    SandboxStatus status;
    status.config.layout = sandbox_layout(state, ::geteuid());
    auto record = read_record(status.config.layout);
    if (!record)
        return record.error();
    if (!*record)
        return std::optional<SandboxStatus>{};
    status.config.spec = (*record)->spec;
    status.config.ports = (*record)->ports;
    status.config.machine = (*record)->machine;
    auto user = sandbox_user();
    if (!user)
        return user.error();
    status.config.user = *user;

    const auto processes = read_processes(status.config.layout);
    const auto listening = read_listening_ports();
    status.processes = static_cast<int>(sandbox_processes(processes, ::getpid()).size());
    bool controller = false;
    for (auto &part : sandbox_parts(status.config)) {
        const pid_t pid = find_part(part, processes);
        const bool listens = pid != 0 && (part.port == 0 ? ::access(part.socket.c_str(), F_OK) == 0
                                                         : listening.contains(part.port));
        controller = controller || (part.program == "slurmctld" && listens);
        status.parts.push_back({std::move(part), pid, listens});
    }
    if (!controller) {
        status.problem = "slurmctld does not run";
    } else if (auto nodes = slurm_nodes(status.config.layout); nodes) {
        status.nodes = *nodes;
    } else {
        status.problem = nodes.error().message;
    }
    return std::optional{std::move(status)};
}

Json to_json(const SandboxStatus &status) {
    const auto &[spec, ports, layout, user, machine] = status.config;
    Json json = sandbox_record({spec, ports, machine});
    json["state"] = status.up() ? "up" : status.running() ? "degraded" : "down";
    json["folder"] = layout.state;
    json["sockets"] = layout.sockets;
    json["slurm_conf"] = layout.slurm_conf();
    json["ssh_config"] = layout.ssh_config();
    json["ssh_host"] = spec.name;
    json["root"] = layout.root();
    json["log"] = layout.file("log");
    json["profiles"] = {spec.name, spec.name + "-local"};
    json["processes"] = status.processes;
    json["problem"] = status.problem;
    json["site_rules"] = describe_site(status.config);
    json["parts"] = Json::array();
    for (const auto &[part, pid, listens] : status.parts) {
        const auto node = status.nodes.find(part.node);
        json["parts"].push_back({{"name", part.name},
                                 {"program", part.program},
                                 {"node", part.node.empty() ? Json(nullptr) : Json(part.node)},
                                 {"pid", pid != 0 ? Json(pid) : Json(nullptr)},
                                 {"port", part.port != 0 ? Json(part.port) : Json(nullptr)},
                                 {"listens", listens},
                                 {"slurm_state", node == status.nodes.end() ? Json(nullptr) : Json(node->second)},
                                 {"log", part.log}});
    }
    return json;
}

Result<DownReport> sandbox_down(const std::string &name, const std::string &state, const std::string &profiles) {
    const auto layout = sandbox_layout(state, ::geteuid());
    PosixFiles files;
    DownReport report;
    std::optional<StateLock> lock;
    std::string registered = name;
    bool has_cgroups = false;
    // Another folder, named by mistake, is left as it is.
    const bool is_sandbox = ::access(layout.lock().c_str(), F_OK) == 0 || ::access(layout.record().c_str(), F_OK) == 0;
    if (is_sandbox) {
        auto taken = StateLock::take(layout.lock(), lock_deadline);
        if (!taken)
            return taken.error();
        lock.emplace(std::move(*taken));
        // One that can't be read any more is ended all the same.
        if (const auto record = read_record(layout); record && *record) {
            registered = (*record)->spec.name;
            has_cgroups = (*record)->machine.cgroups();
        }
    }
    auto killed = kill_processes(layout); // even where the folder is gone
    if (!killed)
        return killed.error();
    report.killed = *killed;

    if (::access(parent_path(profiles).c_str(), F_OK) == 0 && ::access(profiles.c_str(), F_OK) == 0) {
        const auto profiles_lock = StateLock::take_folder(parent_path(profiles), std::chrono::seconds{10});
        if (!profiles_lock)
            return profiles_lock.error();
        auto known = load_profiles(profiles);
        if (!known)
            return known.error();
        // A profile of this name that leads elsewhere is the user's own.
        std::vector<std::string> gone;
        for (const auto &profile : {registered, registered + "-local"})
            if (known->contains(profile) && known->at(profile).root == layout.root())
                gone.push_back(profile);
        if (!gone.empty())
            if (auto removed = save_profiles(profiles, {}, gone); !removed)
                return removed.error();
    }

    if (const auto runs = files.list(layout.root() + "/runs"); runs)
        report.runs = static_cast<int>(runs->size());
    report.existed = is_sandbox || report.killed > 0;
    if (!is_sandbox)
        return report;
    if (auto removed = remove_cgroups(layout, has_cgroups); !removed)
        return removed.error();
    if (auto gone = unmount_disk(layout); !gone)
        return gone.error();
    if (::access(layout.record().c_str(), F_OK) == 0) {
        for (const char *part : {"etc", "ssh", "log", "slurmctld", "gpu", "root", "scratch", "database", "database.new", "munge.seed",
                                 "munge-nodes.seed"})
            if (auto removed = remove_tree(layout.file(part)); !removed)
                return removed.error();
        if (auto removed = remove_tree(layout.sockets); !removed)
            return removed.error();
    }
    for (const auto &file : {layout.record(), layout.lock()})
        if (auto removed = files.remove(file); !removed)
            return removed.error();
    ::rmdir(state.c_str()); // stays where somebody put files of his own into it
    return report;
}

} // namespace trainctl
