#include "sandbox/machine.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "sandbox/processes.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr const char *cgroup_root = "/sys/fs/cgroup/"; // where Slurm looks
// proctrack/cgroup uses the first, task/cgroup the second, and both need the files of a group that is not the root.
struct Controller {
    const char *name, *file;
};
constexpr std::array controllers = {Controller{"freezer", "freezer.state"}, Controller{"memory", "memory.limit_in_bytes"}};
constexpr int deepest = 16; // levels of groups; Slurm makes five

std::string own_group(const SandboxLayout &layout) { return "trainctl-" + sha256_hex(layout.state).substr(0, 16); }

// Groups of another sandbox, or of a cluster that this machine belongs to.
std::string foreign_group(const std::string &controller, const std::string &own) {
    const auto names = PosixFiles{}.list(controller);
    for (const auto &name : names ? *names : std::vector<std::string>{})
        if (name != own && (starts_with(name, "trainctl-") || starts_with(name, "slurm")))
            return name;
    return "";
}

// Why control groups can't be used; empty where they can.
std::string try_cgroups(const SandboxLayout &layout) {
    if (::geteuid() != 0)
        return "only root may make control groups";
    if (::access((std::string{cgroup_root} + "cgroup.controllers").c_str(), F_OK) == 0)
        return "this machine has version 2 alone, and the sandbox uses version 1";
    const auto own = own_group(layout);
    for (const auto &[name, file] : controllers) {
        const std::string controller = std::string{cgroup_root} + name;
        if (::access((controller + "/release_agent").c_str(), F_OK) != 0) // Slurm knows the root by it
            return "no control groups at " + controller;
        const auto group = controller + "/" + own;
        if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST)
            return group + " can't be made: " + std::strerror(errno);
        if (::access((group + "/" + file).c_str(), W_OK) != 0)
            return "no " + std::string{file} + " in " + group;
        // Made first, looked then: of two that do this at a time none gets them, or one.
        if (const auto foreign = foreign_group(controller, own); !foreign.empty())
            return "used by another Slurm of this machine (" + controller + "/" + foreign + ")";
    }
    return "";
}

// The files of a control group can't be removed, and go with its folder.
void remove_groups(const std::string &group, int level = 0) {
    const auto names = PosixFiles{}.list(group);
    for (const auto &name : names && level < deepest ? *names : std::vector<std::string>{}) {
        struct stat info {};
        const auto path = group + "/" + name;
        if (::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
            remove_groups(path, level + 1);
    }
    ::rmdir(group.c_str());
}

} // namespace

SandboxMachine probe_machine(const SandboxLayout &layout) {
    SandboxMachine machine;
    machine.user_namespace = ::geteuid() != 0;
    machine.no_isolation = try_isolation({"probe", {{"/etc/hosts", "/etc/hosts"}}, machine.user_namespace});
    machine.no_cgroups = try_cgroups(layout);
    if (!machine.cgroups())
        if (auto removed = remove_cgroups(layout, false); !removed)
            machine.no_cgroups += ", and " + removed.error().message;
    return machine;
}

Result<void> remove_cgroups(const SandboxLayout &layout, bool in_use) {
    for (const auto &[name, file] : controllers) {
        const std::string controller = std::string{cgroup_root} + name;
        const auto groups = PosixFiles{}.list(controller);
        for (const auto &group : groups && in_use ? *groups : std::vector<std::string>{})
            if (starts_with(group, "slurm_n"))
                remove_groups(controller + "/" + group);
        const auto own = controller + "/" + own_group(layout);
        if (::rmdir(own.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
            return errno_error(errno, "cannot remove the control group", own);
    }
    return {};
}

} // namespace trainctl
