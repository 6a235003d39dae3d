#include "sandbox/prepare.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/process.h"
#include "base/text.h"
#include "sandbox/faults.h"
#include "sandbox/processes.h"
#include "sandbox/site.h"

#include <arpa/inet.h>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <random>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

Result<void> private_folder(const std::string &path, unsigned uid) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return errno_error(errno, "cannot make the folder", path);
    struct stat info {};
    // Under /tmp somebody else could have made it before us.
    if (::lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != uid || (info.st_mode & 077) != 0)
        return Error{ErrorKind::denied, "this must be a folder of yours alone (mode 0700)", path, "choose another --state"};
    return {};
}

Result<void> run_quietly(const std::vector<std::string> &argv, const std::string &where) {
    const auto result = run_command({.argv = argv, .input = "", .deadline = std::chrono::seconds{20}});
    if (!result)
        return result.error();
    if (!result->ok())
        return Error{ErrorKind::io, argv[0] + " failed: " + std::string{trim(result->err)}, where, ""};
    return {};
}

Result<void> make_folders(const SandboxConfig &config) {
    if (auto made = private_folder(config.layout.sockets, config.user.uid); !made)
        return made;
    std::vector<std::string> folders{config.layout.sockets + "/spool"};
    if (config.machine.isolated())
        for (const auto &socket : {config.munge_socket(), config.node_munge_socket()})
            folders.push_back(parent_path(socket));
    if (config.spec.strict())
        folders.push_back(config.layout.file("scratch"));
    for (const char *name : {"etc", "ssh", "log", "slurmctld", "gpu", "root"})
        folders.push_back(config.layout.file(name));
    for (int i = 1; i <= config.spec.nodes; ++i)
        folders.push_back(config.layout.spool(node_name(i)));
    for (const auto &folder : folders)
        if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
            return errno_error(errno, "cannot make the folder", folder);
    // sshd of root locks itself into this folder before it knows who calls; Debian's service makes it at boot.
    if (config.user.uid == 0)
        ::mkdir("/run/sshd", 0755);
    for (int i = 0; i < config.spec.gpus_per_node; ++i) {
        const auto path = config.layout.file(fmt::format("gpu/nvidia{}", i));
        const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return errno_error(errno, "cannot make", path);
        ::close(fd);
    }
    return {};
}

Result<void> make_keys(const SandboxConfig &config) {
    const auto &layout = config.layout;
    const auto munge_key = layout.file("etc/munge.key");
    if (auto key = PosixFiles{}.read(munge_key); !key || !*key)
        if (auto put = put_sandbox_file(munge_key, random_hex(64), 0400); !put)
            return put;
    for (const char *name : {"ssh/host_key", "ssh/user_key"}) {
        const auto path = layout.file(name);
        if (::access((path + ".pub").c_str(), R_OK) == 0 && ::access(path.c_str(), R_OK) == 0)
            continue;
        ::unlink(path.c_str());
        if (auto made = run_quietly({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "trainctl-sandbox", "-f", path}, path); !made)
            return made;
    }
    const auto user_key = PosixFiles{}.read(layout.file("ssh/user_key.pub"));
    if (!user_key)
        return user_key.error();
    return put_sandbox_file(layout.file("ssh/authorized_keys"), user_key->value_or(""), 0600);
}

} // namespace

bool can_bind(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1; // connections of the daemon before it, in TIME_WAIT, don't take the port
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const bool bound = ::bind(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0;
    ::close(fd);
    return bound;
}

Result<SandboxPorts> free_sandbox_ports(int nodes) {
    std::vector<int> found;
    const auto taken = read_listening_ports();
    for (const int port : port_candidates(std::random_device{}(), 8 * ports_needed(nodes)))
        if (found.size() < static_cast<std::size_t>(ports_needed(nodes)) && !taken.contains(port) && can_bind(port))
            found.push_back(port);
    return choose_ports(found, nodes);
}

Result<void> put_sandbox_file(const std::string &path, const std::string &text, mode_t mode) {
    PosixFiles files;
    const auto old = files.read(path);
    if (!old || *old != text)
        if (auto written = files.write(path, text); !written)
            return written;
    if (::chmod(path.c_str(), mode) != 0)
        return errno_error(errno, "cannot set the mode", path);
    return {};
}

Result<void> make_sandbox_files(const SandboxConfig &config) {
    if (auto made = make_folders(config); !made)
        return made;
    if (auto mounted = mount_disk(config); !mounted)
        return mounted;
    return make_keys(config);
}

Result<void> write_sandbox_config(const SandboxConfig &config) {
    const auto &layout = config.layout;
    const auto host_key = PosixFiles{}.read(layout.file("ssh/host_key.pub"));
    if (!host_key)
        return host_key.error();
    struct File {
        std::string path, text;
        mode_t mode;
    };
    std::vector<File> all{{layout.slurm_conf(), slurm_conf_text(config), 0644},
                                {layout.file("etc/gres.conf"), gres_conf_text(config), 0644},
                                {layout.file("etc/task_prolog"), task_prolog_text(config), 0755},
                                {layout.sshd_config(), sshd_config_text(config), 0600},
                                {layout.ssh_config(), ssh_config_text(config), 0600},
                                {layout.file("ssh/known_hosts"), known_hosts_text(config, host_key->value_or("")), 0600},
                                {layout.record(), dump_json(sandbox_record({config.spec, config.ports, config.machine}), 2) + "\n", 0600}};
    if (config.spec.strict()) {
        all.push_back({layout.file("etc/prolog"), prolog_text(config), 0755});
        all.push_back({layout.file("etc/epilog"), epilog_text(config), 0755});
        all.push_back({layout.file("etc/job_submit.lua"), job_submit_text(), 0644});
    }
    if (config.machine.cgroups())
        all.push_back({layout.file("etc/cgroup.conf"), cgroup_conf_text(), 0644});
    if (config.machine.isolated()) {
        const auto hosts = PosixFiles{}.read("/etc/hosts");
        all.push_back({layout.file("etc/hosts"), hosts_text(hosts ? hosts->value_or("") : ""), 0644});
    }
    if (config.spec.accounting)
        all.push_back({layout.file("etc/slurmdbd.conf"), slurmdbd_conf_text(config), 0600});
    for (const auto &file : all)
        if (auto put = put_sandbox_file(file.path, file.text, file.mode); !put)
            return put;
    return {};
}

} // namespace trainctl
