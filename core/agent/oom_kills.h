// How many processes the kernel killed for want of memory where ranks live, by the count of their memory cgroups. Finding a
// cgroup and reading a count are pure; OomWatch does the I/O, which touches nothing but /proc and cgroup file systems.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace trainctl {

struct MemoryCgroup {
    std::string mount; // where the hierarchy is, "/sys/fs/cgroup/memory"
    std::string below; // the cgroup from there, "/slurm/uid_7/job_5/step_0"; empty: the mount itself
    std::string path;  // as the kernel calls it, for people
    bool v2 = false;
};

// The memory cgroup of a process by its /proc/PID/cgroup and our /proc/self/mountinfo (cgroups(7), proc(5)). Nothing where the
// hierarchy is not mounted here, or not that part of it.
std::optional<MemoryCgroup> memory_cgroup(std::string_view cgroups, std::string_view mounts);

// The number behind "oom_kill", of memory.events (version 2, Linux 4.13) and memory.oom_control (version 1, Linux 4.13).
std::optional<std::int64_t> oom_kills_in(std::string_view text);

// Slurm makes a folder job_<id> for each job, in both versions: what is counted below it befell this job alone.
bool is_of_one_job(std::string_view path);

// Counts from add() on.
class OomWatch {
public:
    // What lives in the memory cgroup of `pid`, or in one below it where that counts together (version 2).
    void add(pid_t pid);
    // Anew. The kernel counts before it kills: what was reaped is in it. `at`: seconds, by the caller's clock.
    void read(double at);

    // Nothing: not known, because one of them can't be read, and the others count none.
    std::optional<std::int64_t> kills() const;
    double last_at() const { return last_at_; } // when one more was seen
    bool of_one_job() const;                    // every cgroup that counted one
    std::string where() const;                  // the file of a count that rose, for people

private:
    struct Counter {
        std::string file, path;
        std::int64_t before = 0, now = 0;
    };
    std::vector<Counter> counters_;
    double last_at_ = 0;
    bool blind_ = false; // for one that was added
};

} // namespace trainctl
