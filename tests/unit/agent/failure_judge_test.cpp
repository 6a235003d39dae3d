// Why a generation failed, from its logs and from what the head saw; and which nodes that is remembered of.
#include "agent/failure_judge.h"
#include "failure/book.h"
#include "recovery/node_memory.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>

#include <csignal>

using namespace trainctl;

namespace {

using Nodes = std::vector<std::string>;

// A run of a root, one generation after the other.
struct Judged {
    Judged(const std::string &root, const std::string &run, Nodes its_nodes) : paths{root, RunId{run}}, nodes(std::move(its_nodes)) {
        recovery.avoid_for = std::chrono::hours{24};
    }

    void log(const std::string &node, const std::string &text) {
        const auto path = paths.attempt_file({1}, "logs/g01/" + node + ".log");
        REQUIRE(files.make_dirs(path.substr(0, path.rfind('/'))));
        REQUIRE(files.write(path, text));
    }

    // The first rank of the last node dies; its judge is one that has seen nothing before, as that of a next attempt.
    Failure died(int exit_code, int signal) {
        FailureJudge judge{files, {paths, {1}, recovery, paths.dir(), 0, builtin_failures()}};
        FailureFacts facts;
        facts.generation = ++generation;
        facts.first = RankExit{0, 0, nodes.back(), exit_code, signal, 0, false, {}};
        facts.exits = {*facts.first};
        facts.nodes = nodes;
        facts.earlier = earlier;
        facts.sights = sights;
        facts.stepped_s = stepped_s;
        earlier.push_back(judge.judge(facts, std::nullopt));
        REQUIRE(judge.remembered(std::chrono::seconds{60}));
        return earlier.back();
    }

    PosixFiles files;
    RunPaths paths;
    Nodes nodes;
    Recovery recovery;
    std::vector<Failure> earlier;
    std::vector<Sight> sights;
    std::optional<double> stepped_s;
    int generation = 0;
};

} // namespace

TEST_CASE("failure judge: the line of a log that tells why is named, with its file") {
    const TempDir root;
    Judged run{root.path(), "run-aaaaa", {"n1", "n2"}};
    run.log("n1", "step 1\n");
    run.log("n2", "step 1\nTraceback (most recent call last):\n  File \"train.py\", line 3, in <module>\nKeyError: 'lr'\n");
    const auto failure = run.died(1, 0);
    CHECK(failure.failure_class == "py-error");
    REQUIRE(!failure.evidence.empty());
    CHECK(failure.evidence.front().source == "logs/g01/n2.log");
    CHECK(failure.evidence.front().line == 4);
}

TEST_CASE("failure judge: a node's own log names the node and, by its prefix, the rank") {
    const TempDir root;
    Judged run{root.path(), "run-aaaaa", {"n1", "n2"}};
    run.log("n1", "2026-11-23T12:37:07Z [r0] step 1\n2026-11-23T12:37:08Z [r1] RuntimeError: CUDA error: uncorrectable ECC error encountered\n");
    run.log("n2", "2026-11-23T12:37:07Z [r2] step 1\n");
    const auto failure = run.died(1, 0);
    CHECK(failure.failure_class == "gpu-ecc");
    REQUIRE(failure.suspects.size() == 1);
    CHECK(failure.suspects[0].node == "n1");
    CHECK(failure.suspects[0].rank == 1);
    CHECK(failure.avoid == Nodes{"n1"});
}

TEST_CASE("failure judge: a node that kills ranks is left out the second time, unless nothing is to be remembered") {
    for (const int hours : {0, 24}) {
        CAPTURE(hours);
        const TempDir root;
        Judged run{root.path(), "run-aaaaa", {"n1", "n2"}};
        run.recovery.avoid_for = std::chrono::hours{hours};
        CHECK(run.died(0, SIGKILL).avoid.empty());
        CHECK(run.died(0, SIGKILL).avoid == (hours == 0 ? Nodes{} : Nodes{"n2"}));
    }
}

TEST_CASE("failure judge: of its only node a run says little, two runs say enough") {
    const TempDir root;
    Judged run{root.path(), "run-aaaaa", {"n1"}}, other{root.path(), "run-bbbbb", {"n1"}};
    CHECK(run.died(0, SIGKILL).avoid.empty());
    CHECK(run.died(0, SIGKILL).avoid.empty());
    const auto now = unix_seconds(std::chrono::system_clock::now());
    CHECK(remembered_nodes(run.files, root.path(), now)->size() == 1);
    CHECK(other.died(0, SIGKILL).avoid == Nodes{"n1"});
}

namespace {

Sight sight_of(const std::string &node, std::optional<std::int64_t> oom_kills, double at = 0) {
    Sight out{node, 1, oom_kills, false, {}};
    if (oom_kills.value_or(0) > 0)
        out.observations.push_back({"oom-kill", node, "the kernel killed a process", {}, at});
    return out;
}

} // namespace

TEST_CASE("failure judge: what agents saw of the kernel's kills decides, none rules it out, and not knowing does neither") {
    const std::string worker = "DataLoader worker (pid 7) is killed by signal: Killed.\n"; // a guess at the kernel, by its words
    struct Case { const char *what; std::vector<Sight> sights; std::optional<double> stepped_s; const char *wanted; bool certain; };
    for (const auto &[what, sights, stepped_s, wanted, certain] : {
             Case{"nobody could look", {}, {}, "host-oom", false}, Case{"one could", {sight_of("n2", 0)}, {}, "host-oom", false},
             Case{"one knows nothing", {sight_of("n1", {}), sight_of("n2", 0)}, {}, "host-oom", false},
             Case{"all could, and there was none", {sight_of("n1", 0), sight_of("n2", 0)}, {}, "killed", false},
             Case{"there was one", {sight_of("n1", 0), sight_of("n2", 2)}, {}, "host-oom", true},
             Case{"there was one, on a node alone", {sight_of("n1", 1)}, {}, "host-oom", true},
             Case{"there was one as the last steps came", {sight_of("n2", 1, 1000)}, 1030, "host-oom", true},
             Case{"there was one long before the last steps", {sight_of("n1", 0), sight_of("n2", 1, 1000)}, 1100, "host-oom", false}}) {
        CAPTURE(what);
        const TempDir root;
        Judged run{root.path(), "run-aaaaa", {"n1", "n2"}};
        run.log("n2", worker);
        run.sights = sights;
        run.stepped_s = stepped_s;
        const auto failure = run.died(0, SIGKILL);
        CHECK(failure.failure_class == wanted);
        CHECK((failure.confidence > .9) == certain);
        CHECK((failure.evidence.front().source.rfind("agent on", 0) == 0) == certain);
        CHECK(failure.avoid.empty());
    }
}
