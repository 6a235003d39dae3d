// The second look at a node's chips: when it is worth the time, what it finds, and how it reaches whoever judges.
#include "agent/chip_look.h"
#include "agent/failure_judge.h"
#include "attempt_flow.h"

using namespace trainctl;

namespace {

RankExit ended(int code, int signal, std::vector<std::string> lines = {}) {
    RankExit out;
    out.exit_code = code;
    out.signal = signal;
    out.last_lines = std::move(lines);
    return out;
}

// nvidia-smi of a node with one chip, which tells $STATE/errors memory errors, or does what $STATE/errors says.
std::string nvidia_smi(const std::string &state) {
    return "#!/bin/bash\nread -r errors < " + state + "/errors\n[[ $errors == sleep* ]] && exec $errors\n"
           "case \"$1\" in --query-gpu*) echo \"0, 00000000:0B:00.0, GPU-0, NVIDIA H100, Disabled, $errors, [N/A]\";; esac\n";
}

struct Node {
    Node() {
        std::filesystem::create_directory(dir / "bin");
        tool("nvidia-smi", nvidia_smi(dir.path()));
        tool("dmesg", "#!/bin/bash\nexit 1\n");
        spec.chips_per_node = 1;
        spec.check = "touch " + (dir / "checked");
        spec.environment = {{"PATH", (dir / "bin") + ":/usr/bin:/bin"}};
    }
    void tool(const std::string &name, const std::string &text) const {
        const std::string path = dir / ("bin/" + name);
        std::ofstream{path} << text;
        REQUIRE(::chmod(path.c_str(), 0700) == 0);
    }
    void says(const std::string &errors) const { std::ofstream{dir / "errors"} << errors << "\n"; }

    // Each after the one before.
    std::vector<Sight> look(const std::vector<std::string> &answers) {
        std::vector<Sight> out;
        Loop loop;
        std::function<void()> next;
        ChipLook chips{loop, logs, {std::string{TRAINCTL_BUILD_DIR} + "/trainctl-agent", "n7", spec, [&] { next(); }, limit}};
        loop.on_signal(SIGCHLD, [&] {
            int status = 0;
            for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;)
                chips.child_ended(pid, status);
        });
        int generation = 0;
        const auto told = [&](int of) {
            Sight sight;
            sight.generation = of;
            chips.tell(sight);
            return sight;
        };
        next = [&] {
            if (generation > 0)
                out.push_back(told(generation));
            if (out.size() == answers.size())
                return loop.stop();
            says(answers[out.size()]);
            chips.start(++generation);
            chips.start(generation); // asked for by another rank
            CHECK(told(generation).looking);
            CHECK(!told(generation + 1).looking);
        };
        loop.post(next);
        loop.run();
        for (const auto &sight : out)
            CHECK(!sight.looking);
        return out;
    }

    TempDir dir;
    PreflightSpec spec;
    LogWriter logs;
    Duration limit = 30s; // sanitizers
};

} // namespace

TEST_CASE("chip look: only failures that chips may have to do with are worth the time") {
    CHECK(chips_may_have_to_do_with(ended(1, 0, {"step 7", "RuntimeError: CUDA error: unspecified launch failure", "bye"})));
    CHECK(chips_may_have_to_do_with(ended(1, 0, {"[rank3]:[E ProcessGroupNCCL.cpp:563] Watchdog caught a timeout"})));
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT}) {
        CHECK(chips_may_have_to_do_with(ended(0, signal)));
        CHECK(chips_may_have_to_do_with(ended(128 + signal, 0)));
    }
    CHECK(!chips_may_have_to_do_with(ended(1, 0, {"Traceback (most recent call last):", "KeyError: 'lr'"})));
    CHECK(!chips_may_have_to_do_with(ended(0, SIGKILL)));
    CHECK(!chips_may_have_to_do_with(ended(0, SIGTERM)));
    CHECK(!chips_may_have_to_do_with(ended(0, 0, {"CUDA is fine"})));
    auto ours = ended(0, SIGABRT);
    ours.killed = true;
    CHECK(!chips_may_have_to_do_with(ours));
}

TEST_CASE("chip look: what befell a chip is told once, and the user's own check is not run") {
    Node node;
    const auto seen = node.look({"0", "2", "2", "3"});
    CHECK(seen[0].observations.empty());
    REQUIRE(seen[1].observations.size() == 1);
    CHECK(seen[1].observations[0].what == "gpu-ecc");
    CHECK(seen[1].observations[0].node == "n7");
    CHECK(seen[1].observations[0].text.find("chip 0 (NVIDIA H100, 0000:0b:00): 2 uncorrectable") == 0);
    CHECK(seen[2].observations.empty());
    CHECK(seen[3].observations.size() == 1);
    CHECK(!std::filesystem::exists(node.dir / "checked"));
}

TEST_CASE("chip look: a tool that hangs is given up in time, and nothing is known") {
    Node node;
    node.limit = 500ms;
    const auto seen = node.look({"sleep 2041"});
    CHECK(seen[0].observations.empty());
}

TEST_CASE("flow: memory errors of a chip that came while ranks trained are the cause, and their node is left out") {
    Attempt it{"[ $RANK = 2 ] && { echo 5 > ../../../errors; echo 'RuntimeError: NCCL error: unhandled cuda error' >&2; exit 1; }; sleep 2042"};
    it.plan.experiment.resources.per_node = 1;
    it.plan.judged = true;
    std::ofstream{it.dir / "errors"} << "0\n";
    std::filesystem::create_directory(it.dir / "bin");
    std::ofstream{it.dir / "bin/nvidia-smi"} << nvidia_smi(it.dir.path());
    ::chmod((it.dir / "bin/nvidia-smi").c_str(), 0700);
    it.path = it.dir / "bin";
    it.judge = [paths = it.plan.paths](const FailureFacts &facts) {
        PosixFiles files;
        Recovery recovery;
        recovery.avoid_for = std::chrono::hours{1};
        FailureJudge judge{files, {paths, {1}, recovery, paths.dir(), 0, builtin_failures()}};
        const auto failure = judge.judge(facts, std::nullopt);
        CHECK(judge.remembered(60s));
        return failure;
    };
    it.start();
    const auto outcome = it.finish();
    INFO(slurp(it.plan.paths.attempt_file(it.plan.attempt, "logs/agent.log")));
    REQUIRE(outcome.history.size() == 1);
    const auto &failure = outcome.history.front();
    CHECK(failure.failure_class == "gpu-ecc");
    CHECK(failure.avoid == std::vector<std::string>{"n2"});
    CHECK(failure.evidence.front().source == "agent on n2");
}
