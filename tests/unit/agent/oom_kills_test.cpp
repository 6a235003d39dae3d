// The kernel's count of out-of-memory kills: where it is, what it says, and whose it is; with a cgroup of its own where one can be made.
#include "agent/oom_kills.h"

#include "eventually.h"
#include "support/memory_cgroup.h"

#include <csignal>
#include <doctest/doctest.h>
#include <sys/wait.h>

using namespace trainctl;

namespace {

constexpr const char *v1_mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                                  "30 22 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
                                  "31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n"
                                  "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
                                  "35 30 0:31 / /sys/fs/cgroup/memory rw shared:12 master:4 - cgroup cgroup rw,memory\n";
constexpr const char *v2_mounts = "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char *v1_step = "11:memory:/slurm/uid_7/job_5/step_0\n4:cpu,cpuacct:/slurm/uid_7/job_5/step_0/task_0\n1:name=systemd:/x\n0::/system.slice/slurmd.service\n";
constexpr const char *v2_step = "0::/system.slice/slurmstepd.scope/job_5/step_0/user/task_0\n";

} // namespace

TEST_CASE("oom kills: the memory cgroup of a process is found in both versions, and in what a container sees of them") {
    struct Case { const char *what, *cgroups; std::string mounts; const char *folder, *path; };
    const std::string bound = "40 24 0:31 /docker/c1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    for (const auto &[what, cgroups, mounts, folder, path] : {
             Case{"version 1 of Slurm, beside an empty version 2", v1_step, v1_mounts, "/sys/fs/cgroup/memory/slurm/uid_7/job_5/step_0", "/slurm/uid_7/job_5/step_0"},
             Case{"version 2 of Slurm", v2_step, v2_mounts, "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_5/step_0/user/task_0",
                  "/system.slice/slurmstepd.scope/job_5/step_0/user/task_0"},
             Case{"a namespace of its own", "0::/\n", v2_mounts, "/sys/fs/cgroup", "/"},
             Case{"a part of the hierarchy", "4:memory:/docker/c1/a\n", bound, "/sys/fs/cgroup/memory/a", "/docker/c1/a"},
             Case{"the nearer one of two mounts", "4:memory:/docker/c1/a\n", v1_mounts + bound, "/sys/fs/cgroup/memory/a", "/docker/c1/a"},
             Case{"blanks in a name", "0::/a\n", "1 2 0:26 / /c\\040d rw - cgroup2 none rw\n", "/c d/a", "/a"},
             Case{"another part than ours", "4:memory:/docker/c12\n", bound, nullptr, nullptr},
             Case{"outside of our namespace", "0::/../other\n", v2_mounts, nullptr, nullptr},
             Case{"version 1 that is not mounted", v1_step, v2_mounts, nullptr, nullptr},
             Case{"no cgroups", "", v1_mounts, nullptr, nullptr}, Case{"nothing that is read", "junk\n:\n", "junk - cgroup2\n\n", nullptr, nullptr}}) {
        CAPTURE(what);
        const auto got = memory_cgroup(cgroups, mounts);
        REQUIRE(got.has_value() == (folder != nullptr));
        if (!got)
            continue;
        CHECK(got->mount + got->below == folder);
        CHECK(got->path == path);
        CHECK(got->v2 == (std::string_view{cgroups}.find("memory") == std::string_view::npos));
    }
}

TEST_CASE("oom kills: the count is the number behind oom_kill, and nothing else is") {
    CHECK(oom_kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n") == 3);
    CHECK(oom_kills_in("low 0\nhigh 12\nmax 90\noom 5\noom_kill 0\noom_group_kill 7\n") == 0);
    for (const char *text : {"", "oom_kill_disable 0\nunder_oom 1\n", "oom_kill\n", "oom_kill x\n", "oom_kill -1\n", "oom_kill 1 2\n", "oom_kill 3a\n"}) {
        CAPTURE(text); // the first of version 1 is that of kernels before 4.13
        CHECK(!oom_kills_in(text));
    }
}

TEST_CASE("oom kills: below a job's folder a count is that job's alone") {
    CHECK(is_of_one_job("/slurm/uid_7/job_5/step_0"));
    CHECK(is_of_one_job("/system.slice/slurmstepd.scope/job_5"));
    for (const char *path : {"/", "/system.slice/slurmd.service", "/slurm/uid_7", "/my_job_5/x"})
        CHECK(!is_of_one_job(path));
}

TEST_CASE("oom kills: what is not there is not known, and no count of none") {
    OomWatch nobody, gone;
    CHECK(!nobody.kills());
    gone.add(-1);
    gone.read(1);
    CHECK(!gone.kills());
}

TEST_CASE("oom kills: the kernel's own count goes up with a kill of its own, and with no other") {
    const MemoryCgroup1 cgroup{"job_5", 40};
    if (!cgroup.is_there())
        return;
    // What it runs lives in the cgroup; `watch` sees it there before it begins.
    const auto run = [&](const char *script, OomWatch &watch) {
        int go[2];
        REQUIRE(::pipe(go) == 0);
        const pid_t pid = ::fork();
        if (pid == 0) {
            char byte = 0;
            ::close(go[1]);
            if (::read(go[0], &byte, 1) == 1)
                ::execl("/bin/sh", "sh", "-c", script, nullptr);
            ::_exit(99);
        }
        ::close(go[0]);
        std::ofstream{cgroup.folder() + "/cgroup.procs"} << pid;
        watch.add(pid);
        watch.add(pid); // again: the same cgroup, once
        CHECK(watch.kills() == 0);
        CHECK(::write(go[1], "x", 1) == 1);
        ::close(go[1]);
        int status = 0;
        ::waitpid(pid, &status, 0);
        watch.read(7);
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    };
    OomWatch first, second, third;
    CHECK(run("kill -9 $$", first) == SIGKILL);
    CHECK(first.kills() == 0);
    CHECK(run("exec tail /dev/zero", second) == SIGKILL);
    CHECK(second.kills() == 1);
    CHECK(second.last_at() == 7);
    CHECK(second.of_one_job());
    CHECK(second.where() == cgroup.folder() + "/memory.oom_control");
    CHECK(run("true", third) == 0);
    CHECK(third.kills() == 0); // those of before do not count
    first.add(-1);
    first.read(9);
    CHECK(first.kills() == 1); // one that can't be read hides none that was counted
}
