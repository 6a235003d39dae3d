#include "agent/node_preflight.h"
#include "agent/node_report.h"
#include "agent/processes.h"
#include "agent/spawn.h"
#include "eventually.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const std::string agent = std::string{TRAINCTL_BUILD_DIR} + "/trainctl-agent";

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

std::string content(const std::string &path) {
    std::ostringstream out;
    out << std::ifstream{path}.rdbuf();
    return out.str();
}

// A node as the agent sees it, with tools of our own first in PATH.
struct Node {
    TempDir dir;
    PreflightSpec spec;
    Duration quick_limit = 9s, check_limit = 60s;
    LogWriter logs;

    Node() {
        std::filesystem::create_directory(dir / "bin");
        std::filesystem::create_directory(dir / "run");
        spec.run_dir = dir / "run";
        spec.checkpoint_dir = dir / "run/checkpoints/of/later";
        spec.min_free_mib = 1;
        spec.log_path = dir / "log/agent.log";
        spec.environment = {{"PATH", (dir / "bin") + ":/usr/bin:/bin"}, {"COLOUR", "red"}};
        spec.directory = dir / "run";
        tool("dmesg", "exit 1");
    }
    void tool(const std::string &name, const std::string &script) const {
        const std::string path = dir / ("bin/" + name);
        std::ofstream{path} << "#!/bin/bash\n" << script << "\n";
        REQUIRE(::chmod(path.c_str(), 0700) == 0);
    }
    void nvidia(const std::string &rows, const std::string &rest = "") {
        spec.chips_per_node = 2;
        tool("nvidia-smi", "case \"$1\" in --query-gpu*) " + rows + ";; *) " + rest + ":;; esac");
    }
    PreflightResult look(bool children_die = true) {
        std::optional<PreflightResult> result;
        Loop loop;
        NodePreflight preflight{loop, logs, {agent, spec, [&](const PreflightResult &seen) {
                                                 CHECK_FALSE(result);
                                                 result = seen;
                                                 loop.stop();
                                             }, quick_limit, check_limit}};
        loop.on_signal(SIGCHLD, [&] {
            int status = 0;
            for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;)
                if (children_die)
                    preflight.child_ended(pid, status);
        });
        REQUIRE(preflight.start());
        CHECK(preflight.running());
        Loop::Timer limit = loop.after(40s, [&] { loop.stop(); });
        loop.run();
        loop.cancel(limit);
        REQUIRE(result);
        CHECK_FALSE(preflight.running());
        return *result;
    }
};

const char *const healthy = "for i in 0 1; do echo \"$i, 00000000:${i}B:00.0, GPU-$i, NVIDIA H100, Disabled, 0, [N/A]\"; done";

} // namespace

TEST_CASE("preflight: a healthy node is fine, and nothing is left in its folders") {
    Node node;
    node.nvidia(healthy);
    node.spec.check = "echo \"$COLOUR in $PWD\"";
    const auto seen = node.look();
    CHECK(seen.ok);
    CHECK_MESSAGE(has(seen.text, "nvidia-smi: 2 chips, 2 expected"), seen.text);
    CHECK_MESSAGE(has(seen.text, "disk of the checkpoints' folder"), seen.text);
    CHECK_MESSAGE(has(seen.text, "health.check: exit code 0"), seen.text);
    CHECK(std::filesystem::is_empty(node.dir / "run"));
    REQUIRE(node.logs.drain(10s));
    CHECK(has(content(node.spec.log_path), "[check] red in " + node.spec.directory));
    CHECK(has(content(node.spec.log_path), "[preflight] fine disk of the run's folder"));
}

TEST_CASE("preflight: without a tool chips are not checked, without chips no tool is asked") {
    Node node;
    node.spec.chips_per_node = 2;
    node.spec.environment["PATH"] = node.dir / "bin";
    auto seen = node.look();
    CHECK(seen.ok);
    CHECK_MESSAGE(has(seen.text, "no nvidia-smi: chips not checked"), seen.text);
    node.nvidia("exit 9");
    node.spec.chips_per_node = 0;
    CHECK(node.look().ok);
}

TEST_CASE("preflight: broken chips make a node bad") {
    struct Case {
        std::string rows, rest, told;
    };
    for (const auto &[rows, rest, told] :
         {Case{"echo '0, 00000000:0B:00.0, GPU-0, NVIDIA H100, Disabled, 0, [N/A]'", "", "1 chips, 2 expected"},
          Case{"for i in 0 1; do echo \"$i, 00000000:${i}B:00.0, GPU-$i, NVIDIA H100, Disabled, $i, [N/A]\"; done", "",
               "chip 1 (NVIDIA H100, 0000:1b:00): 1 uncorrectable"},
          Case{healthy, "echo '00000000:0B:00.0, 1, 0'; ", "waits for a reset"},
          Case{"kill -SEGV $$", "", "nvidia-smi failed with exit code 139"},
          Case{"echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9", "", "exit code 9: NVIDIA-SMI has failed"}}) {
        CAPTURE(rows);
        Node node;
        node.nvidia(rows, rest);
        node.spec.check = "touch " + (node.dir / "checked");
        const auto seen = node.look();
        CHECK_FALSE(seen.ok);
        CHECK_MESSAGE(has(seen.text, told), seen.text);
        CHECK_FALSE(std::filesystem::exists(node.dir / "checked")); // it is bad already
    }
}

TEST_CASE("preflight: the kernel's word on a chip makes a node bad") {
    Node node;
    node.nvidia(healthy);
    node.tool("dmesg", "read -r up rest < /proc/uptime; echo \"[${up}] NVRM: Xid (PCI:0000:0b:00): 79, GPU has fallen off the bus.\"");
    const auto seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "fatal Xid 79"), seen.text);
}

TEST_CASE("preflight: garbage and an old driver don't make a node bad") {
    Node node;
    node.nvidia("head -c 100000 /dev/urandom");
    auto seen = node.look();
    CHECK(seen.ok);
    CHECK_MESSAGE(has(seen.text, "warning: nvidia-smi: its answer can't be read"), seen.text);
    node.nvidia("case \"$1\" in *ecc*) echo 'Field \"mig.mode.current\" is not a valid field to query.'; exit 2;; esac; "
                "for i in 0 1; do echo \"$i, 00000000:${i}B:00.0, GPU-$i, Tesla K80\"; done");
    seen = node.look();
    CHECK(seen.ok);
    CHECK_MESSAGE(has(seen.text, "too old"), seen.text);
    CHECK_MESSAGE(has(seen.text, "2 chips, 2 expected"), seen.text);
}

TEST_CASE("preflight: a tool that hangs is told within the limit") {
    Node node;
    node.nvidia("sleep 1011");
    const auto began = std::chrono::steady_clock::now();
    const auto seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "nvidia-smi did not answer within 6 s"), seen.text);
    CHECK(std::chrono::steady_clock::now() - began < 60s);
}

TEST_CASE("preflight: where the whole takes too long, what it was about is told") {
    Node node;
    node.nvidia("sleep 1012");
    node.quick_limit = 500ms;
    const auto seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "looking at chips with nvidia-smi --query-gpu did not end within 500 ms"), seen.text);
}

TEST_CASE("preflight: a process that does not die is left behind, and the node is bad") {
    Node node;
    node.nvidia("sleep 1015");
    node.quick_limit = 200ms;
    const auto began = std::chrono::steady_clock::now();
    const auto seen = node.look(false); // as if it hung in the kernel
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "does not die of SIGKILL and is left behind"), seen.text);
    CHECK(std::chrono::steady_clock::now() - began < 60s);
}

TEST_CASE("preflight: the user's check decides, with its last lines, and has its own limit") {
    Node node;
    node.spec.check = "echo measured 3 of 8 links; exit 5";
    auto seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "health.check failed: exit code 5, 0 expected"), seen.text);
    CHECK_MESSAGE(has(seen.text, "measured 3 of 8 links"), seen.text);
    node.spec.check = "echo waiting for the fabric; sleep 1013 & wait";
    node.check_limit = 1s;
    seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "health.check did not end within 1 s"), seen.text);
    CHECK_MESSAGE(has(seen.text, "waiting for the fabric"), seen.text);
}

TEST_CASE("preflight: folders that can't be used make a node bad") {
    Node node;
    std::ofstream{node.dir / "file"} << "x";
    node.spec.checkpoint_dir = node.dir / "file/checkpoints";
    auto seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "checkpoints' folder"), seen.text);
    node.spec.checkpoint_dir = "";
    node.spec.min_free_mib = std::uint64_t{1} << 40;
    seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "free at"), seen.text);
    CHECK_MESSAGE(has(seen.text, "health.min_free"), seen.text);
}

TEST_CASE("preflight: a full file system is bad") {
    Node node;
    if (::mount("none", (node.dir / "run").c_str(), "tmpfs", 0, "size=64k") != 0) {
        MESSAGE("skipped: this user may not mount");
        return;
    }
    std::ofstream{node.dir / "run/filler"} << std::string(70000, 'x');
    node.spec.min_free_mib = 0; // the test is whether it can be written
    const auto seen = node.look();
    ::umount((node.dir / "run").c_str());
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "No space left on device"), seen.text);
}

TEST_CASE("preflight: one that died or can't be started is bad, one that was killed says nothing") {
    Node node;
    node.tool("nvidia-smi", "kill -KILL $PPID");
    node.spec.chips_per_node = 2;
    auto seen = node.look();
    CHECK_FALSE(seen.ok);
    CHECK_MESSAGE(has(seen.text, "ended with signal 9 while it looked at chips with"), seen.text);

    Loop loop;
    bool said = false;
    NodePreflight missing{loop, node.logs, {node.dir / "no-agent", node.spec, [&](const PreflightResult &result) {
                                                CHECK_FALSE(result.ok);
                                                CHECK(has(result.text, "cannot start"));
                                                said = true;
                                            }}};
    REQUIRE(missing.start());
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, 0);
    missing.child_ended(pid, status);
    CHECK(said);

    NodePreflight killed{loop, node.logs, {agent, node.spec, [](const PreflightResult &) { FAIL("it was killed"); }}};
    REQUIRE(killed.start());
    killed.kill();
    CHECK_FALSE(killed.running());
    pid = ::waitpid(-1, &status, 0);
    killed.child_ended(pid, status);
}

TEST_CASE("report of a bad node: run once for a node and attempt, with its evidence, bounded in time") {
    const TempDir dir;
    LogWriter logs;
    Loop loop;
    NodeReporter reporter{loop, logs, {"echo \"$TRAINCTL_BAD_NODE/$TRAINCTL_RUN/$TRAINCTL_ATTEMPT: $TRAINCTL_EVIDENCE\"; [ $TRAINCTL_BAD_NODE != n3 ] || sleep 1014",
                                       dir.path(), dir / "agent.log", {{"PATH", "/usr/bin:/bin"}}, 1s}};
    const auto reap = [&] {
        int status = 0;
        for (const pid_t pid : reporter.pids())
            if (::waitpid(pid, &status, WNOHANG) == pid)
                reporter.child_ended(pid, status);
    };
    loop.on_signal(SIGCHLD, reap);
    CHECK(reporter.report({"n1", "chip 1: 3 errors\nwarning: 'quoted' $(date)", "r-7", 2}));
    CHECK_FALSE(reporter.report({"n1", "again", "r-7", 2}));
    CHECK(reporter.report({"n1", "next attempt", "r-7", 3}));
    CHECK(reporter.report({"n2", std::string(300'000, 'x') + '\0', "r-7", 2}));
    CHECK(reporter.report({"n3", "slow", "r-7", 2}));
    std::function<void()> look = [&] {
        if (!reporter.running())
            return loop.stop();
        loop.after(20ms, [&] { look(); });
    };
    look();
    Loop::Timer limit = loop.after(30s, [&] { loop.stop(); });
    loop.run();
    loop.cancel(limit);
    CHECK_FALSE(reporter.running());
    REQUIRE(logs.drain(10s));
    const std::string said = content(dir / "agent.log");
    CHECK(has(said, "[report_node n1] n1/r-7/2: chip 1: 3 errors"));
    CHECK(has(said, "[report_node n1] warning: 'quoted' $(date)"));
    CHECK(has(said, "n1/r-7/3: next attempt"));
    CHECK_FALSE(has(said, "again"));
    CHECK(has(said, "n2/r-7/2: xxx"));
    CHECK(has(said, "[report_node n3] did not end within 1 s: killed"));
    CHECK(eventually([&] {
        reap(); // the one that was killed
        return reporter.pids().empty();
    }));

    NodeReporter silent{loop, logs, {" \n", "", dir / "agent.log", {}}};
    CHECK_FALSE(silent.report({"n1", "x", "r", 1}));
}
