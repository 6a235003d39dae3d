#include "sandbox/faults.h"

#include "base/files.h"
#include "base/text.h"
#include "run/drill.h"
#include "sandbox/sandbox.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::uint64_t left_free = 256u << 10; // for journals and progress; a checkpoint does not fit
constexpr int fill_tries = 20;

Result<std::string> slurm_command(const SandboxConfig &config, std::vector<std::string> argv) {
    const auto result = run_command({.argv = argv, .input = "",
                                     .environment = Environment{{"PATH", daemon_path}, {"SLURM_CONF", config.layout.slurm_conf()}},
                                     .deadline = std::chrono::seconds{20}});
    if (!result)
        return result.error();
    if (!result->ok())
        return Error{ErrorKind::io, argv[0] + " failed: " + std::string{trim(result->err)}, config.spec.name, ""};
    return std::string{trim(result->out)};
}

bool is_mounted(const std::string &path) {
    struct stat here {}, above {};
    return ::stat(path.c_str(), &here) == 0 && ::stat(parent_path(path).c_str(), &above) == 0 && here.st_dev != above.st_dev;
}

} // namespace

Result<std::optional<SandboxConfig>> sandbox_of_profile(const Profile &profile) {
    if (base_name(profile.root) != "root")
        return std::optional<SandboxConfig>{};
    const auto status = sandbox_status(parent_path(profile.root));
    if (!status)
        return status.error();
    if (!*status || !(*status)->running())
        return std::optional<SandboxConfig>{};
    const auto &config = (*status)->config;
    // The same path on another machine is another thing.
    const bool ours = profile.root == config.layout.root() && (profile.via == Via::local || profile.ssh_config == config.layout.ssh_config());
    return ours ? std::optional{config} : std::nullopt;
}

std::vector<pid_t> processes_of_node(const std::vector<ProcessInfo> &processes, const SandboxPart &slurmd, pid_t self) {
    const auto sandbox = sandbox_processes(processes, self);
    const std::set<pid_t> all{sandbox.begin(), sandbox.end()};
    std::set<pid_t> there;
    if (const pid_t pid = find_part(slurmd, processes); pid != 0)
        there.insert(pid);
    const auto find = [&](pid_t pid) { return std::find_if(processes.begin(), processes.end(), [&](const auto &process) { return process.pid == pid; }); };
    for (const auto &process : processes) {
        if (!all.contains(process.pid) || process.node != slurmd.node)
            continue;
        // A step's own process has written its title over its environment: known by those that it started.
        for (auto at = find(process.pid); at != processes.end() && all.contains(at->pid); at = find(at->parent))
            if (at->node == slurmd.node || at->program == "slurmstepd")
                there.insert(at->pid);
    }
    for (std::size_t before = 0; before != there.size();) {
        before = there.size();
        for (const auto &process : processes)
            if (there.contains(process.parent) && all.contains(process.pid) && (process.node.empty() || process.node == slurmd.node))
                there.insert(process.pid);
    }
    return {there.begin(), there.end()};
}

Result<std::string> lose_node(const SandboxConfig &config, const std::string &node) {
    for (const auto &part : sandbox_parts(config)) {
        if (part.node != node)
            continue;
        const auto killed = kill_chosen(config.layout, [&](const auto &processes) { return processes_of_node(processes, part, ::getpid()); });
        if (!killed)
            return killed.error();
        return fmt::format("kill -9 for the {} processes of node {}; it is down until the next `trainctl sandbox up`", *killed, node);
    }
    return Error{ErrorKind::not_found, "there is no node " + node, config.spec.name, ""};
}

Result<std::string> preempt_job(const SandboxConfig &config, const std::string &job) {
    const auto found = slurm_command(config, {"squeue", "--noheader", "--jobs=" + job, "--format=%P|%N|%D"});
    if (!found)
        return found.error();
    const auto fields = split(*found, '|');
    if (fields.size() != 3)
        return Error{ErrorKind::not_found, "the job is not in the queue any more", job, ""};
    if (fields[0] != "preemptible")
        return Error{ErrorKind::refused, "jobs of partition " + fields[0] + " do not give way", "job " + job, "in a sandbox those with `resources.partition: preemptible` do"};
    const auto sent = slurm_command(config, {"sbatch", "--parsable", "--partition=urgent", "--nodelist=" + fields[1], "--nodes=" + fields[2], "--exclusive",
                                             "--job-name=drill-urgent", "--output=/dev/null", "--chdir=/", "--wrap=true"});
    if (!sent)
        return sent.error();
    return fmt::format("job {} of partition urgent wants {}, and job {} gives way with {} s of grace", *sent, fields[1], job, config.spec.preempt_grace_s);
}

Result<void> mount_disk(const SandboxConfig &config) {
    const auto root = config.layout.root();
    if (config.spec.disk_mib == 0 || is_mounted(root))
        return {};
    const auto options = fmt::format("size={}m,mode=0700", config.spec.disk_mib);
    if (::mount("trainctl", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
        return errno_error(errno, "cannot mount a disk of its own", root);
    return {};
}

Result<void> unmount_disk(const SandboxLayout &layout) {
    if (is_mounted(layout.root()) && ::umount(layout.root().c_str()) != 0)
        return errno_error(errno, "cannot unmount the sandbox's disk", layout.root());
    return {};
}

Result<DiskFill> DiskFill::fill(const SandboxConfig &config) {
    const auto path = join_path(config.layout.root(), disk_fill_name);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno_error(errno, "cannot fill the disk", path);
    DiskFill out{path, ""};
    struct statvfs disk {};
    int code = ENOSPC;
    // A training may write between the look and the filling.
    for (int tries = 0; tries < fill_tries && code == ENOSPC && ::fstatvfs(fd, &disk) == 0; ++tries) {
        const std::uint64_t free = disk.f_bavail * disk.f_frsize, filled = free - std::min(free, left_free);
        code = filled == 0 ? 0 : ::posix_fallocate(fd, 0, static_cast<off_t>(filled));
        out.text_ = fmt::format("{} filled up: {} MiB of {} MiB, but for {} KiB", config.layout.root(), filled >> 20, (disk.f_blocks * disk.f_frsize) >> 20, left_free >> 10);
    }
    ::close(fd);
    return code == 0 ? Result<DiskFill>{std::move(out)} : errno_error(code, "cannot fill the disk", path);
}

DiskFill::DiskFill(DiskFill &&other) noexcept : path_(std::exchange(other.path_, "")), text_(std::move(other.text_)) {}

void DiskFill::free() {
    if (!path_.empty())
        ::unlink(path_.c_str());
    path_.clear();
}

} // namespace trainctl
