#include "sandbox/processes.h"

#include "base/files.h"
#include "base/text.h"
#include "sandbox/site.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>

namespace trainctl {

namespace {

constexpr std::string_view tcp_listen = "0A"; // include/net/tcp_states.h

template <class Number> std::optional<Number> number(std::string_view text, int base = 10) {
    Number value{};
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return code == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
}

std::vector<std::string_view> words(std::string_view line) {
    std::vector<std::string_view> out;
    while (!(line = trim(line)).empty()) {
        const auto end = std::min(line.find(' '), line.size());
        out.push_back(line.substr(0, end));
        line.remove_prefix(end);
    }
    return out;
}

} // namespace

std::vector<SandboxPart> sandbox_parts(const SandboxConfig &config) {
    const auto &[spec, ports, layout, user, machine] = config;
    const std::string conf = layout.slurm_conf();
    std::vector<SandboxPart> parts;
    const auto add = [&](const std::string &name, std::vector<std::string> argv, const std::string &proof) -> SandboxPart & {
        SandboxPart part;
        part.name = name;
        part.program = argv[0];
        part.argv = std::move(argv);
        part.proof = proof;
        part.log = layout.log(name);
        part.output = layout.file("log/" + name + ".out");
        part.isolation.user_namespace = machine.user_namespace;
        return parts.emplace_back(std::move(part));
    };
    const auto add_munged = [&](const std::string &name, const std::string &socket, const std::string &seed) -> SandboxPart & {
        auto &part = add(name,
                         {"munged", "--foreground", "--force", "--socket=" + socket, "--key-file=" + layout.file("etc/munge.key"),
                          "--pid-file=" + layout.sockets + "/" + name + ".pid", "--log-file=" + layout.log(name),
                          "--seed-file=" + layout.file(seed), "--num-threads=4"},
                         "--socket=" + socket);
        part.socket = socket;
        part.first = true;
        part.output = part.log;
        return part;
    };
    auto &munged = add_munged("munged", config.munge_socket(), "munge.seed");
    if (machine.isolated()) {
        munged.argv.push_back(std::string{"--origin="} + login_origin);
        add_munged("munged-nodes", config.node_munge_socket(), "munge-nodes.seed").argv.push_back(std::string{"--origin="} + nodes_origin);
    }
    if (spec.accounting) {
        const std::string socket = "--socket=" + layout.database_socket();
        auto &database = add("mariadbd", mariadbd_command(config), socket);
        database.socket = layout.database_socket();
        database.first = true;
        auto &slurmdbd = add("slurmdbd", {"slurmdbd", "-D"}, ""); // it takes no argument that would tell it from another
        slurmdbd.port = ports.slurmdbd;
        slurmdbd.first = true;
    }
    auto &slurmctld = add("slurmctld", {"slurmctld", "-D", "-f", conf}, conf);
    slurmctld.port = ports.slurmctld;
    if (machine.isolated())
        slurmctld.isolation.binds = {{layout.file("etc/hosts"), "/etc/hosts"}};
    add("sshd", {"sshd", "-D", "-f", layout.sshd_config(), "-E", layout.log("sshd")}, layout.sshd_config()).port = ports.sshd;
    for (int i = 1; i <= spec.nodes; ++i) {
        const std::string node = node_name(i);
        auto &slurmd = add(node, {"slurmd", "-D", "-N", node, "-f", conf}, conf);
        slurmd.node = node;
        slurmd.port = ports.slurmd[static_cast<std::size_t>(i - 1)];
        if (machine.isolated()) {
            slurmd.isolation.hostname = node;
            // Folders: a munged that is started again makes a new socket.
            slurmd.isolation.binds = {{parent_path(config.node_munge_socket()), parent_path(config.munge_socket())}};
        }
    }
    return parts;
}

pid_t find_part(const SandboxPart &part, const std::vector<ProcessInfo> &processes) {
    const auto names = [](const ProcessInfo &process, const std::string &word) {
        return std::find(process.arguments.begin(), process.arguments.end(), word) != process.arguments.end();
    };
    std::map<pid_t, const ProcessInfo *> found;
    for (const auto &process : processes) {
        if (process.program != part.program)
            continue;
        // sshd writes its title over its arguments: "sshd: /usr/sbin/sshd -D -f <config> ... [listener] 0 of ...".
        const bool is_title = part.program == "sshd" && !process.arguments.empty() &&
                              process.arguments[0].find(" " + part.proof + " ") != std::string::npos &&
                              process.arguments[0].find("[listener]") != std::string::npos;
        const bool is_named = part.proof.empty() ? process.marked || process.holds_files : names(process, part.proof);
        if (is_title || (is_named && (part.node.empty() || names(process, part.node))))
            found.emplace(process.pid, &process);
    }
    // A child that has not yet got its own title looks like its parent.
    for (const auto &[pid, process] : found)
        if (!found.contains(process->parent))
            return pid;
    return 0;
}

std::vector<pid_t> sandbox_processes(const std::vector<ProcessInfo> &processes, pid_t self) {
    std::map<pid_t, pid_t> parent;
    for (const auto &process : processes)
        parent[process.pid] = process.parent;
    std::set<pid_t> spared;
    for (pid_t pid = self; pid > 0 && spared.insert(pid).second;)
        pid = parent.contains(pid) ? parent[pid] : 0;

    std::set<pid_t> ours;
    for (const auto &process : processes)
        if (process.marked || process.holds_files)
            ours.insert(process.pid);
    for (std::size_t before = 0; before != ours.size();) {
        before = ours.size();
        for (const auto &process : processes)
            if (ours.contains(process.parent) && !spared.contains(process.parent))
                ours.insert(process.pid);
    }
    std::vector<pid_t> out;
    std::set_difference(ours.begin(), ours.end(), spared.begin(), spared.end(), std::back_inserter(out));
    return out;
}

std::optional<pid_t> parent_from_stat(std::string_view text) {
    const auto name_end = text.rfind(')'); // the name may hold anything, ')' and spaces too
    if (name_end == std::string_view::npos)
        return std::nullopt;
    const auto fields = words(text.substr(name_end + 1)); // state, ppid, ...
    if (fields.size() < 2 || fields[0] == "Z" || fields[0] == "X")
        return std::nullopt;
    return number<pid_t>(fields[1]);
}

std::set<int> listening_ports(std::string_view text) {
    std::set<int> ports;
    for (const auto &line : split_lines(text)) {
        const auto fields = words(line); // "0:", "0100007F:1F90", "00000000:0000", "0A", ...
        if (fields.size() < 4 || fields[3] != tcp_listen)
            continue;
        const auto colon = fields[1].rfind(':');
        if (colon == std::string_view::npos)
            continue;
        if (const auto port = number<int>(fields[1].substr(colon + 1), 16))
            ports.insert(*port);
    }
    return ports;
}

} // namespace trainctl
