#include "logs.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

Evidence evidence_of(const std::string &text) {
    Evidence evidence;
    if (!text.empty())
        evidence.logs.push_back(scanned(builtin_matcher(), text));
    return evidence;
}

Diagnosis of(const Evidence &evidence) { return decide(builtin_failures(), evidence); }

const std::string timeout = "[rank0]:[E ProcessGroupNCCL.cpp:563] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1) ran for 600037 milliseconds before timing out.\n";

} // namespace

TEST_CASE("decide: without any evidence nothing is said to have failed") {
    const auto got = of({});
    CHECK(got.failure_class == "none");
    CHECK(got.action == FailureAction::none);
}

TEST_CASE("decide: Slurm's state alone decides, with its action and confidence") {
    struct Case { const char *state, *reason, *wanted; FailureAction action; };
    for (const auto &[state, reason, wanted, action] : {
             Case{"TIMEOUT", "", "time-limit", FailureAction::hand_over}, Case{"PREEMPTED", "", "preemption", FailureAction::hand_over},
             Case{"NODE_FAIL", "", "node-failure", FailureAction::without_node}, Case{"OUT_OF_MEMORY", "", "host-oom", FailureAction::retry_once},
             Case{"OUT_OF_ME+", "", "host-oom", FailureAction::retry_once}, Case{"CANCELLED by 1000", "", "user-cancel", FailureAction::stop},
             Case{"FAILED", "JobLaunchFailure", "launch-slurm", FailureAction::without_node}, Case{"COMPLETED", "", "none", FailureAction::none},
             Case{"FAILED", "NonZeroExitCode", "none", FailureAction::none}, Case{"", "", "none", FailureAction::none}}) {
        CAPTURE(state);
        Evidence evidence;
        evidence.slurm = {state, reason, "n[1-2]"};
        const auto got = of(evidence);
        CHECK(got.failure_class == wanted);
        if (std::string{reason} != "JobLaunchFailure")
            CHECK(got.action == action);
    }
}

TEST_CASE("decide: how a job that FAILED ended is evidence; of one that did not it is none") {
    struct Case { SlurmWord word; const char *wanted; };
    for (const auto &[word, wanted] : {
             Case{{"FAILED", "NonZeroExitCode", "n1", 1, 0, 0}, "unknown"}, Case{{"FAILED", "NonZeroExitCode", "n1", 127, 0, 0}, "launch-command"},
             Case{{"FAILED", "RaisedSignal:9(Killed)", "n1", 0, 9, 0}, "killed"}, Case{{"FAILED", "NonZeroExitCode", "n1", 1, 0, 125}, "host-oom"},
             Case{{"COMPLETED", "", "n1", 0, 0, 125}, "host-oom"}, Case{{"TIMEOUT", "TimeLimit", "n1", 0, 9, 0}, "time-limit"},
             Case{{"CANCELLED by 7", "", "n1", 0, 15, 9}, "user-cancel"}, Case{{"RUNNING", "", "n1", 0, 0, 0}, "none"}}) {
        CAPTURE(word.state);
        CAPTURE(word.exit_code);
        Evidence evidence;
        evidence.slurm = word;
        CHECK(of(evidence).failure_class == wanted);
    }
    Evidence lost;
    lost.slurm = {"NODE_FAIL", "NodeDown", "n4"};
    REQUIRE(of(lost).suspects.size() == 1);
    CHECK(of(lost).suspects[0].node == "n4");
    lost.slurm.nodes = "n[4-5]"; // either
    CHECK(of(lost).suspects.empty());
}

TEST_CASE("decide: a SIGKILL is no out-of-memory without evidence, and one with it is") {
    Evidence evidence;
    evidence.deaths = {{3, "n2", 0, 9, 100.0}};
    CHECK(of(evidence).failure_class == "killed");
    CHECK(of(evidence).confidence < .5);
    evidence.observations = {{"oom-kill", "n2", "memory.events counts one", {}, {}}};
    const auto got = of(evidence);
    CHECK(got.failure_class == "host-oom");
    CHECK(got.confidence > .9);
    CHECK(got.evidence[0].source == "agent on n2");
}

TEST_CASE("decide: where an agent saw that the kernel killed nobody, a killed worker is only killed") {
    auto evidence = evidence_of("ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: -9) local_rank: 0 (pid: 7) of binary: python\n");
    CHECK(of(evidence).failure_class == "host-oom");
    CHECK(of(evidence).confidence < .5);
    evidence.oom_kills = false;
    CHECK(of(evidence).failure_class == "killed");
}

TEST_CASE("decide: the first rank to die is the suspect of an echo") {
    auto evidence = evidence_of(timeout);
    evidence.deaths = {{0, "n1", 0, 6, 700.0}, {5, "n2", 0, 9, 100.0}};
    const auto got = of(evidence);
    CHECK(got.failure_class == "nccl-timeout");
    REQUIRE(got.suspects.size() == 1);
    CHECK(got.suspects[0].rank == 5);
    CHECK(got.suspects[0].node == "n2");
    CHECK(!got.suspects[0].proven);
}

TEST_CASE("decide: exit codes and signals of ranks mean what they say, and 0 means nothing") {
    struct Case { int code, signal; const char *wanted; };
    for (const auto &[code, signal, wanted] : {Case{93, 0, "stop-requested"}, Case{0, 11, "segfault"}, Case{139, 0, "segfault"}, Case{137, 0, "killed"},
                                               Case{0, 7, "bus-error-shm"}, Case{127, 0, "launch-command"}, Case{1, 0, "unknown"}, Case{0, 0, "none"}}) {
        CAPTURE(code);
        CAPTURE(signal);
        Evidence evidence;
        evidence.deaths = {{0, "n1", code, signal, {}}};
        CHECK(of(evidence).failure_class == wanted);
    }
}

TEST_CASE("decide: a cause found earlier wins over the collective that timed out, and the echo is told as rejected") {
    const auto got = diagnosed("[rank2]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 336.00 MiB.\n" + timeout);
    CHECK(got.failure_class == "cuda-oom");
    REQUIRE(!got.rejected.empty());
    CHECK(got.rejected[0].clue.failure_class == "nccl-timeout");
    CHECK(got.rejected[0].clue.line == 2);
    CHECK(!got.rejected[0].why.empty());
}

TEST_CASE("decide: what the run outlived is no cause") {
    std::string text = "RuntimeError: CUDA error: uncorrectable ECC error encountered\n";
    for (int i = 1; i < 5; ++i)
        text += "iteration " + std::to_string(i) + "/100 loss: 2.0\n";
    CHECK(diagnosed(text).failure_class == "gpu-ecc");
    text += "iteration 5/100 loss: 2.0\n";
    const auto got = diagnosed(text);
    CHECK(got.failure_class == "none");
    CHECK(got.rejected.size() == 1);
}

TEST_CASE("decide: the log's own cause stays in the race against Slurm's end of the job") {
    auto evidence = evidence_of("OSError: [Errno 28] No space left on device\n");
    evidence.slurm.state = "TIMEOUT";
    CHECK(of(evidence).failure_class == "storage-full");
    evidence = evidence_of("Traceback (most recent call last):\n  File \"a.py\", line 3, in f\nKeyError: 'x'\n");
    evidence.slurm.state = "TIMEOUT";
    CHECK(of(evidence).failure_class == "time-limit");
}

TEST_CASE("decide: a stall that an agent saw is a hang, unless the log names a cause") {
    auto evidence = evidence_of("iteration 1/100 loss: 2.0\n");
    evidence.observations = {{"stall", "", "no step for 30 minutes", {}, 10.0}};
    CHECK(of(evidence).failure_class == "hang");
    evidence = evidence_of("RuntimeError: CUDA error: uncorrectable ECC error encountered\n");
    evidence.observations = {{"stall", "", "no step for 30 minutes", {}, 10.0}};
    CHECK(of(evidence).failure_class == "gpu-ecc");
}

TEST_CASE("decide: of several logs the one that failed first decides, by the times of their lines") {
    Evidence evidence;
    evidence.logs.push_back(scanned(builtin_matcher(), "2024-05-01 10:10:00 RuntimeError: CUDA error: an illegal memory access was encountered\n"));
    evidence.logs.push_back(scanned(builtin_matcher(), "2024-05-01 10:00:00 OSError: [Errno 116] Stale file handle\n"));
    CHECK(of(evidence).failure_class == "storage-stale");
    std::swap(evidence.logs[0], evidence.logs[1]);
    CHECK(of(evidence).failure_class == "storage-stale");
}

TEST_CASE("decide: a crash before any progress comes again, one after it may not") {
    CHECK(diagnosed("Fatal Python error: Segmentation fault\n").action == FailureAction::stop);
    CHECK(diagnosed("iteration 1/100 loss: 2.0\nFatal Python error: Segmentation fault\n").action == FailureAction::retry_once);
}

TEST_CASE("decide: a log whose clock runs on without progress hangs, unless its program was done") {
    const std::string silent = "iteration 1/100 loss: 2.0\n2024-05-01 10:00:00 a\n2024-05-01 10:20:00 b\n2024-05-01 10:40:00 c\n";
    CHECK(diagnosed(silent).failure_class == "hang");
    CHECK(diagnosed("iteration 1/100 loss: 2.0\nTraining completed.\n" + silent.substr(26)).failure_class == "none");
    CHECK(diagnosed(silent + "iteration 2/100 loss: 2.0\n").failure_class == "none");
}

TEST_CASE("decide: a node that was suspected before is told so") {
    auto evidence = evidence_of("srun: error: Node failure on n17\n");
    evidence.earlier = {{"gpu-ecc", {"n17"}}, {"hang", {"n3"}}, {"hang", {"n17", "n4"}}};
    const auto got = of(evidence);
    REQUIRE(got.suspects.size() == 1);
    CHECK(got.suspects[0].node == "n17");
    CHECK(got.suspects[0].proven);
    CHECK(got.suspects[0].times_before == 2);
}
