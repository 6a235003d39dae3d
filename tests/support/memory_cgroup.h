// A memory cgroup with a limit, for tests in which the kernel kills for want of memory: of version 1, for root.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstring>
#include <doctest/doctest.h>
#include <fstream>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

class MemoryCgroup1 {
public:
    // As Slurm does, one folder for a job and one below it for a step.
    MemoryCgroup1(const std::string &job, long limit_mib) : folder_(mount + std::string{"/trainctl-test-"} + std::to_string(::getpid())) {
        for (const char *const part : {"", job.c_str(), "step_0"}) {
            if (*part != '\0')
                folder_ += std::string{"/"} + part;
            if (::mkdir(folder_.c_str(), 0755) != 0 && errno != EEXIST)
                missing_ = folder_ + " can't be made: " + std::strerror(errno);
        }
        if (!missing_.empty())
            return;
        std::ofstream{folder_ + "/memory.limit_in_bytes"} << (limit_mib << 20);
        std::ofstream{folder_ + "/memory.memsw.limit_in_bytes"} << (limit_mib << 20); // not where swap is not accounted for
        if (!std::ifstream{folder_ + "/memory.oom_control"})
            missing_ = "no memory.oom_control in " + folder_;
    }
    // Processes that were killed a moment ago may still be in it.
    ~MemoryCgroup1() {
        std::string at = folder_;
        for (int level = 0; level < 3; ++level, at.resize(at.rfind('/')))
            for (int tries = 0; tries < 2000 && ::rmdir(at.c_str()) != 0 && errno == EBUSY; ++tries)
                ::poll(nullptr, 0, 5);
    }
    MemoryCgroup1(const MemoryCgroup1 &) = delete;
    MemoryCgroup1 &operator=(const MemoryCgroup1 &) = delete;

    // False where this machine lets us make none, which is told.
    bool is_there() const {
        if (!missing_.empty())
            MESSAGE("NOT TRIED: ", missing_);
        return missing_.empty();
    }
    const std::string &folder() const { return folder_; }

private:
    static constexpr const char *mount = "/sys/fs/cgroup/memory";
    std::string folder_, missing_;
};

} // namespace trainctl
