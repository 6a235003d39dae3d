#include "agent/evidence.h"

#include "agent/evidence_facts.h"
#include "agent/spawn.h"
#include "eventually.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const std::string agent = std::string{TRAINCTL_BUILD_DIR} + "/trainctl-agent";

Mark mark_of_test() { return {"evidence-test-" + std::to_string(::getpid()), 1, 2, "n1"}; }

// Processes that are killed at the end of the test.
struct Processes {
    Processes() = default;
    ~Processes() {
        for (const pid_t pid : pids) {
            ::kill(-pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        }
    }
    Processes(const Processes &) = delete;
    Processes &operator=(const Processes &) = delete;

    pid_t start(int rank, const std::string &script) {
        const auto pid = spawn({{"/bin/bash", "-c", script},
                                {{"PATH", "/usr/bin:/bin"}, {"RANK", std::to_string(rank)}, {mark_variable, to_string(mark_of_test())}},
                                "/"});
        REQUIRE(pid);
        pids.push_back(*pid);
        return *pid;
    }
    std::vector<pid_t> pids;
};

struct Collected {
    std::string summary;
    Duration took{};
    int calls = 0;
};

Collected collect(const std::string &program, const EvidenceRequest &request) {
    Loop loop;
    EvidenceCollector collector{loop, program};
    Collected out;
    const auto began = std::chrono::steady_clock::now();
    collector.start(request, [&](const std::string &summary) {
        out.summary = summary;
        ++out.calls;
        loop.post([&loop] { loop.stop(); });
    });
    CHECK(out.calls == 0);
    auto guard = loop.after(60s, [&loop] { loop.stop(); });
    loop.run();
    loop.cancel(guard);
    out.took = std::chrono::steady_clock::now() - began;
    CHECK(out.calls == 1);
    CHECK_FALSE(collector.running());
    return out;
}

// The children that collectors left; those of `Processes` are theirs.
bool no_child_but(const std::vector<pid_t> &known) {
    for (const auto &process : list_processes()) {
        const bool ours = process.parent == ::getpid() && std::find(known.begin(), known.end(), process.pid) == known.end();
        if (ours && ::waitpid(process.pid, nullptr, WNOHANG) == 0)
            return false;
    }
    return true;
}

std::string content(const std::string &path) {
    std::stringstream out;
    out << std::ifstream{path}.rdbuf();
    return out.str();
}

void make_program(const std::string &path, const std::string &script) {
    std::ofstream{path} << "#!/bin/bash\n" << script << "\n";
    REQUIRE(::chmod(path.c_str(), 0700) == 0);
}

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

EvidenceRequest request_in(const TempDir &dir) {
    EvidenceRequest out;
    out.file = dir / "logs/g02/n1.evidence.txt";
    out.mark = mark_of_test();
    out.environment = {{"PATH", "/usr/bin:/bin"}};
    return out;
}

const char *const dump = R"(Process 4242: python3 train.py
Python v3.11.2 (/usr/bin/python3.11)

Thread 4250 (idle): "pin_memory"
    wait (threading.py:324)
    get (queue.py:180)

Thread 4242 (active): "MainThread"
    all_reduce (torch/distributed/distributed_c10d.py:2501)
    reduce_gradients (train.py:80)
    step (train.py:120)
    main (train.py:200)
Thread 4260 (idle): "watchdog"
    wait (threading.py:324)
)";

} // namespace

TEST_CASE("evidence: the innermost frames of the main thread are what it is in") {
    CHECK(innermost_frames(dump) ==
          "all_reduce (torch/distributed/distributed_c10d.py:2501) < reduce_gradients (train.py:80) < step (train.py:120)");
    CHECK(innermost_frames("Thread 1 (idle)\n    f (a.py:1)\nThread 2 (idle)\n    g (b.py:1)\n") == "f (a.py:1)");
    CHECK(innermost_frames("Error: no python here").empty());
    CHECK(innermost_frames("Thread 1: \"MainThread\"\n    " + std::string(1000, 'x')).size() <= 90);
}

TEST_CASE("evidence: ranks that do the same share a line, and the summary is bounded") {
    std::vector<RankFacts> ranks(8);
    for (int rank = 0; rank < 8; ++rank) {
        auto &facts = ranks[static_cast<std::size_t>(rank)];
        facts.rank = rank;
        facts.main = {100 + rank, "python3", "S", "futex_wait_queue", 12, 0};
        facts.all = {facts.main};
        facts.threads = {{"S futex_wait_queue", 11}, {"R", 1}};
        facts.frames = rank == 5 ? "read (loader.py:7)" : "all_reduce (dist.py:3)";
        facts.cpu_share = rank == 5 ? 0 : 1;
    }
    CHECK(evidence_summary(ranks, "in use 100 %, 0 %") ==
          "ranks 0-4,6-7 python3: S futex_wait_queue, 1.0 CPUs; in all_reduce (dist.py:3); 12 threads: 11 S futex_wait_queue, 1 R\n"
          "rank 5 (pid 105) python3: S futex_wait_queue, no CPU time; in read (loader.py:7); 12 threads: 11 S futex_wait_queue, 1 R\n"
          "GPUs: in use 100 %, 0 %");
    ranks.resize(200, ranks[0]);
    for (int rank = 0; rank < 200; ++rank)
        ranks[static_cast<std::size_t>(rank)].frames = std::string(200, 'x') + std::to_string(rank);
    CHECK(evidence_summary(ranks, std::string(5000, 'g')).size() <= max_evidence_summary_bytes);
    CHECK(evidence_summary({}, "") == "no process of the ranks was found on this node");
    RankFacts stuck;
    stuck.main = {7, "python3", "D", "nfs_wait_bit_killable", 1, 0};
    CHECK(has(evidence_summary({stuck}, ""), "a file server or a driver does not answer"));
}

TEST_CASE("evidence: of ranks found by their mark, what they wait in and how much CPU they use") {
    TempDir dir;
    Processes processes;
    const pid_t sleeper = processes.start(0, "exec sleep 1000");
    processes.start(1, "while :; do :; done");
    processes.start(2, "sleep 1000 & sleep 1000 & wait");
    REQUIRE(eventually([&] { return process_facts(sleeper).name == "sleep"; }));
    const auto got = collect(agent, request_in(dir));
    INFO(got.summary);
    CHECK(got.took < 60s); // what it looks at sleeps for longer
    CHECK(has(got.summary, "rank 0 (pid " + std::to_string(sleeper) + ") sleep: S"));
    CHECK(has(got.summary, "no CPU time"));
    CHECK(has(got.summary, "rank 1"));
    CHECK(has(got.summary, "CPUs"));
    CHECK(has(got.summary, "2 other processes"));
    const auto file = content(dir / "logs/g02/n1.evidence.txt");
    INFO(file);
    for (const char *part : {"== summary", "== rank 0", "== rank 2", "command: sleep 1000", "system call", "== CPU time", "VmRSS", "py-spy"})
        CHECK_MESSAGE(has(file, part), part);
    CHECK(eventually([&] { return no_child_but(processes.pids); }));
}

TEST_CASE("evidence: ranks that are named are taken with what descends from them, those that are gone are said to be") {
    TempDir dir;
    Processes processes;
    const pid_t pid = processes.start(0, "env -u RANK sleep 1000 & wait");
    REQUIRE(eventually([&] { return !descendants_of(pid, list_processes()).empty(); }));
    auto request = request_in(dir);
    request.ranks = {{4, pid}, {5, 4194304 + 5}};
    const auto got = collect(agent, request);
    INFO(got.summary);
    CHECK(has(got.summary, "rank 4 (pid " + std::to_string(pid) + ") bash: S"));
    CHECK(has(got.summary, "1 other processes"));
    CHECK(has(got.summary, "rank 5 (pid 0) has no process any more"));
}

TEST_CASE("evidence: py-spy of the ranks' PATH is asked, and one that hangs is killed in time") {
    TempDir dir;
    Processes processes;
    processes.start(3, "sleep 1000 & wait");
    auto request = request_in(dir);
    request.environment["PATH"] = dir.path() + ":/usr/bin:/bin";
    make_program(dir / "py-spy", "echo \"$@\" > '" + (dir / "asked") + "'\ncat <<'END'\n" + dump + "END");
    const auto good = collect(agent, request);
    CHECK(has(good.summary, "in all_reduce (torch/distributed/distributed_c10d.py:2501) < reduce_gradients"));
    CHECK(has(content(dir / "asked"), "dump --pid "));
    CHECK(has(content(request.file), "Thread 4250 (idle)"));

    make_program(dir / "py-spy", "trap '' TERM HUP INT; echo $$ > '" + (dir / "pid") + "'; sleep 1000");
    make_program(dir / "nvidia-smi", "echo '0, 98 %, 70000 MiB, 60, 1700 MHz'; echo '1, 0 %, 70000 MiB, 60, 1700 MHz'");
    request.limit = 3s;
    const auto hung = collect(agent, request);
    INFO(hung.summary);
    CHECK(hung.took < 60s);
    CHECK(has(hung.summary, "rank 3"));
    CHECK(has(hung.summary, "GPUs: in use 98 %, 0 %"));
    const pid_t left = std::stoi(content(dir / "pid"));
    CHECK(eventually([&] { return process_facts(left).pid == 0 || process_facts(left).state == "Z"; }));
    CHECK(eventually([&] { return no_child_but(processes.pids); }));
}

TEST_CASE("evidence: a file that can't be written takes nothing from the summary") {
    TempDir dir;
    Processes processes;
    processes.start(0, "sleep 1000 & wait");
    auto request = request_in(dir);
    request.file = "/proc/nowhere/evidence.txt";
    CHECK(has(collect(agent, request).summary, "rank 0"));
}

TEST_CASE("evidence: nobody to look at, and no request at all") {
    TempDir dir;
    CHECK(collect(agent, request_in(dir)).summary == "no process of the ranks was found on this node");
    const auto pid = spawn({{agent, "evidence"}, {}});
    REQUIRE(pid);
    int status = 0;
    REQUIRE(::waitpid(*pid, &status, 0) == *pid);
    CHECK(WEXITSTATUS(status) == 2);
}

TEST_CASE("evidence: a looker that hangs, says nothing, too much or half a thing is told as what it is") {
    TempDir dir;
    auto request = request_in(dir);
    request.limit = 300ms;
    make_program(dir / "hangs", "echo $$ > '" + (dir / "pid") + "'; exec sleep 30");
    const auto hung = collect(dir / "hangs", request);
    CHECK(hung.summary == "nothing was found out in time");
    CHECK(hung.took < 25s);
    ::kill(std::stoi(content(dir / "pid")), SIGKILL);

    request.limit = 20s;
    make_program(dir / "silent", "exit 3");
    CHECK(has(collect(dir / "silent", request).summary, "ended without a word"));
    make_program(dir / "half", "printf 'first\\0second\\0thi'");
    CHECK(collect(dir / "half", request).summary == "second");
    make_program(dir / "long", "printf '%04000d\\0' 7");
    CHECK(collect(dir / "long", request).summary.size() == max_evidence_summary_bytes);
    make_program(dir / "odd", "for i in $(seq 2000); do printf '\\xff'; done; printf '\\0'");
    CHECK(collect(dir / "odd", request).summary.size() <= max_evidence_summary_bytes);
    CHECK(has(collect(dir / "missing", request).summary, "ended without a word"));
    CHECK(eventually([&] { return no_child_but({}); }));
}

TEST_CASE("evidence: a newer collection ends the one before, each answers once") {
    TempDir dir;
    auto request = request_in(dir);
    make_program(dir / "slow", "printf 'early\\0'; exec sleep 30 >&-");
    Loop loop;
    EvidenceCollector collector{loop, dir / "slow"};
    int first = 0, second = 0;
    collector.start(request, [&](const std::string &) { ++first; });
    collector.start(request, [&](const std::string &summary) {
        CHECK(summary == "early");
        ++second;
        loop.stop();
    });
    CHECK(first == 1);
    loop.run();
    CHECK(second == 1);
    for (const auto &process : list_processes())
        if (process.parent == ::getpid())
            ::kill(process.pid, SIGKILL);
    CHECK(eventually([&] { return no_child_but({}); }));
}
