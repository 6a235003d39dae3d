#include "attempt_flow.h"

using namespace trainctl;

TEST_CASE("flow: ranks run to their end with the environment they need and no other") {
    Attempt it{"env -0 > env.$RANK; echo step $((RANK + 1)) loss 0.5; echo to stderr >&2; [ $1 ] && echo run $1 \"$3\""};
    it.plan.experiment.environment.setup = "export FROM_SETUP=$'two\\nlines'; f() { echo hi; }; export -f f; echo setting up \\";
    it.plan.experiment.environment.env = {{"NAMED", "{run}/{attempt}"}};
    it.plan.secrets = {{"TOKEN", "hunter2"}};
    it.plan.experiment.checkpoint.resume_args = {"--resume", "{checkpoint_step} of {checkpoint_name}"};
    CheckpointSeen seen;
    seen.path = "/ckpt/step-9";
    seen.step = 9;
    it.plan.resume_from = seen;
    it.start();
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::finished);
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.ranks_dead);
    CHECK(outcome.last_step == 1);
    CHECK(outcome.resumed_step == 9);
    std::string master;
    for (int rank = 0; rank < 4; ++rank) {
        CAPTURE(rank);
        Environment environment;
        for (const auto &variable : split(it.work("env." + std::to_string(rank)), '\0'))
            if (const auto at = variable.find('='); at != std::string::npos)
                environment[variable.substr(0, at)] = variable.substr(at + 1);
        CHECK(environment["RANK"] == std::to_string(rank));
        CHECK(environment["LOCAL_RANK"] == std::to_string(rank % 2));
        CHECK(environment["NODE_RANK"] == std::to_string(rank / 2));
        CHECK(environment["WORLD_SIZE"] == "4");
        CHECK(environment["LOCAL_WORLD_SIZE"] == "2");
        CHECK(environment["FROM_SETUP"] == "two\nlines");
        CHECK(environment["BASH_FUNC_f%%"].find("echo hi") != std::string::npos);
        CHECK(environment["NAMED"] == it.plan.paths.run.value + "/1");
        CHECK(environment["TOKEN"] == "hunter2");
        CHECK(environment["TRAINCTL_RESUME_FROM"] == "/ckpt/step-9");
        CHECK(environment["TRAINCTL_RESUME_STEP"] == "9");
        CHECK(environment["TRAINCTL_JOB_ID"] == "77");
        CHECK(std::stoi("0" + environment["MASTER_PORT"]) > 0);
        if (rank == 0)
            master = environment["MASTER_ADDR"] + environment["MASTER_PORT"];
        CHECK(environment["MASTER_ADDR"] + environment["MASTER_PORT"] == master);
        for (const auto &[name, value] : environment)
            CHECK(!starts_with(name, "SLURM"));
    }
    CHECK(it.log("n1").find("[r0] run flow-") != std::string::npos);
    CHECK(it.log("n1").find(" 9 of step-9") != std::string::npos);
    CHECK(it.log("n2").find("[r3] to stderr") != std::string::npos);
    CHECK(slurp(it.plan.paths.attempt_file({1}, "logs/setup/n1.log")).find("setting up") != std::string::npos);
    for (const char *file : {"logs/agent.log", "head.json"})
        CHECK(slurp(it.plan.paths.attempt_file({1}, file)).find("hunter2") == std::string::npos);
    CHECK(slurp(it.dir / "journal").find("hunter2") == std::string::npos);
    struct stat info{};
    REQUIRE(::stat(it.plan.paths.attempt_file({1}, "head.json").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("flow: a rank that crashes ends all of them, grandchildren too, and its words are kept") {
    Attempt it{staying + "if [ $RANK = 2 ]; then while [ ! -e go ]; do sleep 0.05; done; "
                         "printf 'Traceback (most recent call last):\\nValueError: no\\n' >&2; exit 7; fi; sleep 2003"};
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    CHECK(it.marked().size() >= 12);
    std::ofstream{join_path(it.plan.paths.file("work"), "go")};
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::rank_failed);
    CHECK(outcome.exit_code == 7);
    CHECK(outcome.ranks_dead);
    REQUIRE(outcome.first);
    CHECK(outcome.first->rank == 2);
    CHECK(outcome.first->node == "n2");
    REQUIRE(!outcome.first->last_lines.empty());
    CHECK(outcome.first->last_lines.back() == "ValueError: no");
}

TEST_CASE("flow: SIGTERM at the head and everywhere") {
    Attempt it{staying + "sleep 2004"};
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    for (const pid_t pid : it.marked())
        ::kill(pid, SIGTERM);
    ::kill(it.agent("n1"), SIGTERM);
    ::kill(it.agent("n2"), SIGTERM);
    ::kill(it.head, SIGTERM);
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::terminated);
    CHECK(outcome.ranks_dead);
    CHECK(!outcome.signals.empty());
}

TEST_CASE("flow: the early signal has the ranks save") {
    Attempt it{staying + "trap 'echo 12 > ../../../checkpoint; exit 0' USR1; while :; do sleep 0.05; done"};
    it.plan.experiment.checkpoint.save_signal = "USR1";
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    ::kill(it.head, SIGUSR1);
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::time_limit);
    CHECK(it.dir.path().size() > 0);
    CHECK(slurp(it.dir / "checkpoint") == "12\n");
    CHECK(slurp(it.dir / "journal").find("save_asked") != std::string::npos);
}

TEST_CASE("flow: a wish to stop is seen at the doorbell") {
    Attempt it{staying + "sleep 2005"};
    it.plan.experiment.recovery.heartbeat = 5s;
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    std::ofstream{it.dir / "stop"};
    ::kill(it.head, SIGUSR2);
    CHECK(it.finish().kind == OutcomeKind::stopped);
}

TEST_CASE("flow: a setup that fails tells why") {
    Attempt it{"echo never > started"};
    it.plan.experiment.environment.setup = "echo no such module >&2; false";
    it.start();
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::setup_failed);
    CHECK(outcome.text.find("no such module") != std::string::npos);
    CHECK(outcome.text.find("exit code 1") != std::string::npos);
    CHECK(it.work("started").empty());
}

TEST_CASE("flow: kill -9 of a node agent, of a guard") {
    for (const bool guard : {false, true}) {
        CAPTURE(guard);
        Attempt it{staying + "sleep 2006"};
        it.start();
        REQUIRE(eventually([&] { return it.all_up(); }));
        pid_t target = it.agent("n2");
        if (guard) {
            for (const auto &process : list_processes())
                if (process.parent == it.agent("n2"))
                    target = process.pid;
            REQUIRE(target != it.agent("n2"));
        }
        ::kill(target, SIGKILL);
        const auto outcome = it.finish();
        CHECK(outcome.kind == (guard ? OutcomeKind::rank_failed : OutcomeKind::node_lost));
        CHECK(outcome.ranks_dead);
        if (!guard)
            CHECK(outcome.suspect_nodes == std::vector<std::string>{"n2"});
    }
}

TEST_CASE("flow: kill -9 of the head: the agents kill the ranks when the lease is over") {
    Attempt it{staying + "sleep 2007"};
    it.plan.experiment.recovery.lease = 4s;
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    const auto killed = std::chrono::steady_clock::now();
    ::kill(it.head, SIGKILL);
    ::waitpid(it.head, nullptr, 0);
    it.head = -1;
    CHECK(eventually([&] { return it.marked().empty(); }));
    CHECK(std::chrono::steady_clock::now() - killed < 10s);
    for (const char *node : {"n1", "n2"}) // they ask Slurm to end the job, and stay until it does
        ::kill(it.agent(node), SIGKILL);
}

TEST_CASE("flow: a head that can't write its beat, or was superseded, stops training") {
    for (const char *file : {"no-beats", "superseded"}) {
        CAPTURE(file);
        Attempt it{staying + "sleep 2008"};
        it.plan.experiment.recovery.lease = 4s;
        it.start();
        REQUIRE(eventually([&] { return it.all_up(); }));
        std::ofstream{it.dir / file};
        const auto outcome = it.finish();
        CHECK(outcome.kind == OutcomeKind::lease_lost);
    }
}

TEST_CASE("flow: output without end and without newlines keeps nobody from ending") {
    Attempt it{"head -c 20000000 /dev/zero | tr '\\0' x; echo; echo done $RANK"};
    it.start();
    CHECK(it.finish().kind == OutcomeKind::finished);
    CHECK(it.log("n2").find("[r3] done 3") != std::string::npos);
    CHECK(it.log("n2").size() < 100000);
}

TEST_CASE("flow: srun that fails at once is told in its own words") {
    Attempt it{"true"};
    std::ofstream{it.dir / "srun"} << "#!/bin/sh\necho 'srun: error: Unable to create step: Invalid account' >&2; exit 1\n";
    it.start();
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::setup_failed);
    CHECK(outcome.text.find("Invalid account") != std::string::npos);
    CHECK(outcome.ranks_dead);
}
