// Real faults of a sandbox's machine: a node that dies, a job that preempts, a disk that is full; and the run root's own
// small disk. Not pure, but for processes_of_node().
#pragma once

#include "cluster/profile.h"
#include "sandbox/processes.h"

#include <optional>

namespace trainctl {

// The sandbox on this machine that a profile leads to; nothing where it leads elsewhere.
Result<std::optional<SandboxConfig>> sandbox_of_profile(const Profile &profile);

// All that runs on a node: its slurmd, the steps, and what those started. Not `self`, nor what it descends from. Pure.
std::vector<pid_t> processes_of_node(const std::vector<ProcessInfo> &processes, const SandboxPart &slurmd, pid_t self);

// Each says what it did. The node stays dead until the next sandbox_up().
Result<std::string> lose_node(const SandboxConfig &config, const std::string &node);
// Another job wants the nodes of this one. Errors: refused, where its partition is not one that gives way.
Result<std::string> preempt_job(const SandboxConfig &config, const std::string &job);

// A tmpfs for the run root, where the sandbox was made with one.
Result<void> mount_disk(const SandboxConfig &config);
Result<void> unmount_disk(const SandboxLayout &layout);

// Fills the run root's disk up but for what a run's own records need, until free() or the end of this object.
class DiskFill {
public:
    static Result<DiskFill> fill(const SandboxConfig &config);
    DiskFill(DiskFill &&other) noexcept;
    DiskFill &operator=(DiskFill &&) = delete;
    ~DiskFill() { free(); }

    void free();
    const std::string &text() const { return text_; } // what was done
    bool held() const { return !path_.empty(); }

private:
    DiskFill(std::string path, std::string text) : path_(std::move(path)), text_(std::move(text)) {}
    std::string path_, text_;
};

} // namespace trainctl
