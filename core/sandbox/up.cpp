#include "sandbox/sandbox.h"

#include "base/files.h"
#include "base/text.h"
#include "sandbox/accounting.h"
#include "sandbox/machine.h"
#include "sandbox/prepare.h"
#include "sandbox/state_lock.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace trainctl {

namespace {

constexpr auto lock_deadline = std::chrono::seconds{180}; // longer than an `up` may take
constexpr int port_tries = 3;                             // somebody else may take a port between our look and the bind
constexpr std::size_t log_lines_quoted = 8;
constexpr auto poll_pause = std::chrono::milliseconds{25};

class Starter {
public:
    explicit Starter(const UpRequest &request) : request_(request), begun_(std::chrono::steady_clock::now()) {}

    Result<UpReport> run();

private:
    Result<void> check_packages(const SandboxSpec &spec) const;
    Result<void> choose_spec();
    Result<void> register_profiles();
    Result<bool> start_parts();
    Result<void> start_part(const SandboxPart &part) const;
    Result<bool> wait_for_parts(std::vector<SandboxPart> waiting);
    Result<void> wait_for_nodes();
    Result<void> check_login();
    Error part_died(const SandboxPart &part) const;
    bool past_deadline() const { return std::chrono::steady_clock::now() - begun_ > request_.deadline; }
    void tell(const std::string &what, const std::string &how, Instant since) const {
        if (request_.progress)
            request_.progress(what, how, std::chrono::steady_clock::now() - since);
    }

    const UpRequest &request_;
    Instant begun_;
    SandboxConfig config_;
    UpReport report_;
    PosixFiles files_;
};

std::string last_lines(const std::string &path) {
    const auto text = PosixFiles{}.read(path);
    if (!text || !*text)
        return "";
    auto lines = split_lines(**text);
    if (lines.size() > log_lines_quoted)
        lines.erase(lines.begin(), lines.end() - log_lines_quoted);
    return join(lines, "\n  ");
}

Error Starter::part_died(const SandboxPart &part) const {
    std::string said = last_lines(part.output);
    if (said.empty())
        said = last_lines(part.log);
    return Error{ErrorKind::io, part.name + " ended while it started; its last words:\n  " + said, part.log, ""};
}

Result<void> Starter::check_packages(const SandboxSpec &spec) const {
    const auto missing = missing_packages(spec, [](const auto &program) { return find_daemon(program).has_value(); });
    if (missing.empty())
        return {};
    return Error{ErrorKind::not_found, "the sandbox needs packages that are not installed", "",
                 (::geteuid() == 0 ? "apt-get install -y " : "sudo apt-get install -y ") + join(missing, " ")};
}

Result<void> Starter::choose_spec() {
    const auto text = files_.read(config_.layout.record());
    if (!text)
        return text.error();
    if (!*text) {
        const auto others = files_.list(config_.layout.state);
        if (others && std::any_of(others->begin(), others->end(), [](const auto &name) { return name != "lock"; }))
            return Error{ErrorKind::exists, "this folder is not empty, and not a sandbox", config_.layout.state,
                         "choose another one with --state"};
        config_.spec.name = request_.name;
        request_.choose(config_.spec);
        if (auto good = check_sandbox(config_.spec, config_.layout.state); !good)
            return good;
        if (config_.spec.disk_mib > 0 && config_.user.uid != 0)
            return Error{ErrorKind::denied, "a disk of its own has to be mounted, and only root may do that", "--disk", "leave out --disk; only `trainctl drill RUN disk-full` needs it"};
        if (auto there = check_packages(config_.spec); !there)
            return there;
        if (config_.spec.strict())
            config_.machine = probe_machine(config_.layout);
        // The record comes first: from now on everything here is ours to repair or to remove.
        config_.ports.slurmd.resize(static_cast<std::size_t>(config_.spec.nodes));
        return put_sandbox_file(config_.layout.record(),
                                dump_json(sandbox_record({config_.spec, config_.ports, config_.machine}), 2) + "\n", 0600);
    }
    auto record = parse_sandbox_record(**text, config_.layout.record());
    if (!record)
        return record.error();
    config_.spec = record->spec;
    config_.ports = record->ports;
    config_.machine = record->machine;
    SandboxSpec wanted = record->spec;
    wanted.name = request_.name;
    request_.choose(wanted);
    if (wanted != record->spec)
        return Error{ErrorKind::exists,
                     fmt::format("the sandbox '{}' is there already, with other options ({} nodes, {} {} each)", record->spec.name,
                                 record->spec.nodes, record->spec.gpus_per_node, record->spec.chip),
                     config_.layout.state, "end it (trainctl sandbox down), or give this one another --name"};
    return check_packages(config_.spec);
}

// False where a port was taken from under us.
Result<bool> Starter::start_parts() {
    auto processes = read_processes(config_.layout);
    const auto parts = sandbox_parts(config_);
    const auto runs = [&](const SandboxPart &part) { return find_part(part, processes) != 0; };
    const bool taken = config_.ports.slurmctld == 0 || std::any_of(parts.begin(), parts.end(), [&](const auto &part) {
        return part.port != 0 && !runs(part) && !can_bind(part.port);
    });
    if (taken) {
        // Every part knows every port: with new ones all start anew. Jobs of a cluster that was up are lost.
        if (auto killed = kill_processes(config_.layout); !killed)
            return killed.error();
        auto ports = free_sandbox_ports(config_.spec.nodes);
        if (!ports)
            return ports.error();
        config_.ports = *ports;
        processes.clear();
    }
    if (auto written = write_sandbox_config(config_); !written)
        return written.error();

    report_.started.clear();
    report_.kept.clear();
    std::vector<SandboxPart> waiting;
    for (const auto &part : sandbox_parts(config_)) {
        const bool kept = find_part(part, processes) != 0;
        (kept ? report_.kept : report_.started).push_back(part.name);
        if (!kept) {
            if (auto started = start_part(part); !started)
                return started.error();
            waiting.push_back(part);
        }
        if (!part.first)
            continue;
        if (auto ready = wait_for_parts(std::exchange(waiting, {})); !ready || !*ready)
            return ready;
        if (part.program == "slurmdbd") {
            const Instant since = std::chrono::steady_clock::now();
            SystemClock clock;
            auto known = register_account(config_);
            // One that ran on finds out now that its database was started anew.
            while (!known && known.error().kind == ErrorKind::unreachable && !past_deadline()) {
                clock.sleep_for(poll_pause);
                known = register_account(config_);
            }
            if (!known)
                return known.error();
            tell("account", "registered", since);
        }
    }
    return wait_for_parts(waiting);
}

Result<void> Starter::start_part(const SandboxPart &part) const {
    const Instant since = std::chrono::steady_clock::now();
    if (part.program == "mariadbd") {
        if (auto made = make_database(config_); !made)
            return made;
        tell("database", "made", since);
    }
    Environment environment{{"PATH", daemon_path},  {"HOME", own_variable("HOME", "/")}, {"USER", config_.user.name},
                            {"LOGNAME", config_.user.name}, {"LANG", "C.UTF-8"}, {"SLURM_CONF", config_.layout.slurm_conf()},
                            {sandbox_mark, config_.layout.state}};
    if (part.program == "slurmdbd") // its configuration has no key for a socket
        environment.emplace("MYSQL_UNIX_PORT", config_.layout.database_socket());
    if (!part.socket.empty())
        ::unlink(part.socket.c_str()); // of one that was killed: it would look like one that listens
    auto argv = part.argv;
    argv[0] = find_daemon(part.program).value_or(part.program);
    return start_detached({argv, environment, config_.layout.state, part.output, part.isolation});
}

Result<bool> Starter::wait_for_parts(std::vector<SandboxPart> waiting) {
    const Instant since = std::chrono::steady_clock::now();
    const auto of_nodes = std::count_if(waiting.begin(), waiting.end(), [](const auto &part) { return !part.node.empty(); });
    SystemClock clock;
    bool nodes_told = of_nodes == 0;
    while (!waiting.empty()) {
        const auto processes = read_processes(config_.layout);
        const auto listening = read_listening_ports();
        for (auto part = waiting.begin(); part != waiting.end();) {
            const bool listens = part->port != 0 ? listening.contains(part->port)
                                                 : ::access(part->socket.c_str(), F_OK) == 0;
            const bool runs = find_part(*part, processes) != 0;
            if (!runs && std::chrono::steady_clock::now() - since > std::chrono::milliseconds{200}) {
                if (part->port != 0 && !can_bind(part->port))
                    return false;
                return part_died(*part);
            }
            if (!runs || !listens) {
                ++part;
                continue;
            }
            if (part->node.empty())
                tell(part->name, "runs", since);
            part = waiting.erase(part);
        }
        const bool nodes_wait = std::any_of(waiting.begin(), waiting.end(), [](const auto &part) { return !part.node.empty(); });
        if (!nodes_told && !nodes_wait) {
            tell("slurmd", fmt::format("{} of {} run", of_nodes, of_nodes), since);
            nodes_told = true;
        }
        if (!waiting.empty() && past_deadline())
            return Error{ErrorKind::timeout, waiting[0].name + " does not answer; the end of its log:\n  " + last_lines(waiting[0].log),
                         waiting[0].log, "run `trainctl sandbox up` again: it goes on from here"};
        if (!waiting.empty())
            clock.sleep_for(poll_pause);
    }
    return true;
}

Result<void> Starter::wait_for_nodes() {
    const Instant since = std::chrono::steady_clock::now();
    SystemClock clock;
    std::string waiting_for = "slurmctld";
    std::string said;
    while (!past_deadline()) {
        const auto nodes = slurm_nodes(config_.layout);
        if (nodes) {
            std::vector<std::string> bad, drained;
            for (const auto &[node, state] : *nodes) {
                if (!node_serves(state))
                    bad.push_back(node + " " + state);
                if (starts_with(state, "drain") || starts_with(state, "down"))
                    drained.push_back(node);
            }
            if (bad.empty() && !nodes->empty()) {
                tell("nodes", fmt::format("{} of {} take jobs", nodes->size(), config_.spec.nodes), since);
                return {};
            }
            // Drained by a prolog that failed, or by hand: `up` means all of it.
            if (!drained.empty())
                [[maybe_unused]] auto resumed =
                    run_command({.argv = {"scontrol", "update", "NodeName=" + join(drained, ","), "State=RESUME"},
                                 .input = "",
                                 .environment = Environment{{"PATH", daemon_path}, {"SLURM_CONF", config_.layout.slurm_conf()}}});
            said = join(bad, ", ");
        } else {
            said = nodes.error().message;
        }
        clock.sleep_for(poll_pause);
    }
    return Error{ErrorKind::timeout, "the nodes don't get ready: " + said + "; slurmctld's log ends with:\n  " +
                     last_lines(config_.layout.log("slurmctld")),
                 config_.layout.log("slurmctld"), "run `trainctl sandbox up` again: it goes on from here"};
}

Result<void> Starter::check_login() {
    const Instant since = std::chrono::steady_clock::now();
    const auto result = run_command({.argv = {"ssh", "-F", config_.layout.ssh_config(), config_.spec.name, "true"},
                                     .input = "",
                                     .deadline = std::chrono::seconds{20}});
    if (!result)
        return result.error();
    if (!result->ok())
        return Error{ErrorKind::denied,
                     "a login over SSH fails: " + std::string{trim(result->err)} + "; sshd's log ends with:\n  " +
                         last_lines(config_.layout.log("sshd")),
                     config_.layout.log("sshd"), "an account without a login shell, or locked, can't use the sandbox over SSH"};
    tell("ssh", "login works", since);
    return {};
}

Result<void> Starter::register_profiles() {
    const auto folder = parent_path(request_.profiles);
    if (auto made = files_.make_dirs(folder); !made)
        return made;
    const auto lock = StateLock::take_folder(folder, std::chrono::seconds{10});
    if (!lock)
        return lock.error();
    return save_profiles(request_.profiles, sandbox_profiles(config_), {});
}

Result<UpReport> Starter::run() {
    // Before anything is made: a folder of a sandbox that could not start would be in the way.
    SandboxSpec wanted;
    request_.choose(wanted);
    if (auto there = check_packages(wanted); !there)
        return there.error();
    auto user = sandbox_user();
    if (!user)
        return user.error();
    config_.user = *user;
    config_.layout = sandbox_layout(request_.state, user->uid);
    if (auto made = files_.make_dirs(request_.state); !made)
        return made.error();
    const auto lock = StateLock::take(config_.layout.lock(), lock_deadline);
    if (!lock)
        return lock.error();
    begun_ = std::chrono::steady_clock::now();
    if (auto chosen = choose_spec(); !chosen)
        return chosen.error();
    if (auto made = make_sandbox_files(config_); !made)
        return made.error();
    for (int tries = 1;; ++tries) {
        auto started = start_parts();
        if (!started)
            return started.error();
        if (*started)
            break;
        if (tries == port_tries)
            return Error{ErrorKind::refused, "the ports that were free are taken again and again", request_.state, "try again"};
    }
    for (const auto step : {&Starter::check_login, &Starter::wait_for_nodes, &Starter::register_profiles})
        if (auto done = (this->*step)(); !done)
            return done.error();
    report_.config = config_;
    report_.took = std::chrono::steady_clock::now() - begun_;
    return report_;
}

} // namespace

Result<UpReport> sandbox_up(const UpRequest &request) { return Starter{request}.run(); }

} // namespace trainctl
