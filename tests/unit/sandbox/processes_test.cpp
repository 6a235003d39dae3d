#include "sandbox/faults.h"
#include "sandbox/processes.h"
#include "support/temp_dir.h"

#include "base/files.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <unistd.h>

using namespace trainctl;

namespace {

SandboxConfig example() {
    SandboxConfig config;
    config.spec.nodes = 2;
    config.ports = {20001, 20002, {20003, 20004}};
    config.layout = sandbox_layout("/s", 7);
    return config;
}

ProcessInfo process(pid_t pid, pid_t parent, const std::string &program, std::vector<std::string> arguments) {
    ProcessInfo info;
    info.pid = pid;
    info.parent = parent;
    info.program = program;
    info.arguments = std::move(arguments);
    return info;
}

} // namespace

TEST_CASE("sandbox processes: each part is found by its program and arguments, never another sandbox's") {
    const auto parts = sandbox_parts(example());
    REQUIRE(parts.size() == 5);
    const std::vector<ProcessInfo> processes{
        process(10, 1, "munged", {"munged", "--socket=/other/run/munge.sock"}),
        process(11, 1, "munged", {"munged", "--socket=/s/run/munge.sock"}),
        process(12, 1, "slurmctld", {"slurmctld", "-D", "-f", "/s/etc/slurm.conf"}),
        process(13, 1, "tail", {"tail", "-f", "/s/etc/slurm.conf"}),
        process(14, 1, "sshd", {"sshd: /usr/sbin/sshd -D -f /s/ssh/sshd_config -E /s/log/sshd.log [listener] 0 of 10-100 startups"}),
        process(15, 14, "sshd", {"sshd: ann [priv]"}),
        process(16, 1, "slurmd", {"slurmd", "-D", "-N", "n2", "-f", "/s/etc/slurm.conf"}),
        process(17, 16, "slurmd", {"slurmd", "-D", "-N", "n2", "-f", "/s/etc/slurm.conf"})};
    CHECK(find_part(parts[0], processes) == 11);
    CHECK(find_part(parts[1], processes) == 12);
    CHECK(find_part(parts[2], processes) == 14);
    CHECK(find_part(parts[3], processes) == 0);
    CHECK(find_part(parts[4], processes) == 16);
}

TEST_CASE("sandbox processes: the marked and all below them, but never ourselves nor those above us") {
    std::vector<ProcessInfo> processes;
    for (const auto &[pid, parent] : std::vector<std::pair<pid_t, pid_t>>{{1, 0}, {2, 1}, {3, 2}, {4, 3}, {5, 1}, {6, 1}, {7, 6}, {8, 7}})
        processes.push_back(process(pid, parent, "x", {}));
    processes[1].marked = true;      // 2 -> 3 -> 4
    processes[5].holds_files = true; // 6 -> 7 -> 8, we are 8
    CHECK(sandbox_processes(processes, 8) == std::vector<pid_t>{2, 3, 4});
    CHECK(sandbox_processes(processes, 5) == std::vector<pid_t>{2, 3, 4, 6, 7, 8});
}

TEST_CASE("sandbox processes: texts of /proc") {
    CHECK(parent_from_stat("12 (a) b) (c) S 7 12 12 0") == 7);
    CHECK(parent_from_stat("12 (x) Z 7 12") == std::nullopt);
    CHECK(parent_from_stat("") == std::nullopt);
    CHECK(parent_from_stat("12 (x) S") == std::nullopt);
    CHECK(listening_ports("  sl  local_address rem_address   st\n"
                          "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n"
                          "   1: 0100007F:1F91 00000000:0000 01 00000000:00000000\n"
                          "odd line\n") == std::set<int>{8080});
}

TEST_CASE("sandbox processes: a detached program is found by its mark, and killed with what it started") {
    const TempDir dir;
    const auto layout = sandbox_layout(dir.path(), ::geteuid());
    const auto started = start_detached({{"/bin/sh", "-c", "setsid tail -f /dev/null & exec tail -f /dev/null"},
                                         {{"PATH", "/usr/bin:/bin"}, {sandbox_mark, dir.path()}},
                                         dir.path(),
                                         dir / "out"});
    REQUIRE(started);
    const auto killed = kill_processes(layout);
    REQUIRE(killed);
    CHECK(*killed >= 1);
    const auto left = read_processes(layout);
    CHECK(std::none_of(left.begin(), left.end(), [](const auto &info) { return info.marked; }));
}

TEST_CASE("sandbox processes: a program that can't be started is an error") {
    const TempDir dir;
    const auto started = start_detached({{"/no/such/program"}, {}, dir.path(), dir / "out"});
    REQUIRE(!started);
    CHECK(started.error().kind == ErrorKind::not_found);
}

TEST_CASE("sandbox faults: a node's processes are its slurmd, its steps and all below, and none of another node") {
    SandboxPart slurmd;
    slurmd.name = slurmd.node = "n2";
    slurmd.program = "slurmd";
    slurmd.proof = "/x/slurm.conf";
    const auto process = [](pid_t pid, pid_t parent, const std::string &program, const std::string &node = "", bool marked = true) {
        ProcessInfo info;
        info.pid = pid;
        info.parent = parent;
        info.program = program;
        info.node = node;
        info.marked = marked;
        return info;
    };
    auto daemon = process(10, 1, "slurmd");
    daemon.arguments = {"slurmd", "-N", "n2", "-f", "/x/slurm.conf"};
    const std::vector<ProcessInfo> all{daemon,
                                       process(11, 1, "slurmstepd"), process(12, 11, "trainctl-agent", "n2"), process(13, 12, "guard", "n2"),
                                       process(14, 13, "python3", "n2"), process(15, 14, "sh"),
                                       process(20, 1, "slurmstepd"), process(21, 20, "trainctl-agent", "n1"), process(22, 21, "srun", "n1"),
                                       process(30, 1, "slurmctld"), process(40, 1, "python3", "n2", false)};
    const auto found = processes_of_node(all, slurmd, 99);
    CHECK(found == std::vector<pid_t>{10, 11, 12, 13, 14, 15});
}
