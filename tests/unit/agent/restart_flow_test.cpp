// Restarts inside the allocation, with real processes.
#include "attempt_flow.h"

using namespace trainctl;

TEST_CASE("flow: a rank that crashes is started again inside the allocation, with what was saved") {
    Attempt it{staying + "echo $TRAINCTL_GENERATION $MASTER_PORT $TRAINCTL_RESUME_FROM $2 >> gen.$RANK; [ $TRAINCTL_GENERATION = 2 ] && exit 0; "
                         "while [ ! -e go ]; do sleep 0.05; done; [ $RANK = 2 ] && { echo 40 > ../../../checkpoint; exit 7; }; sleep 2009"};
    it.plan.experiment.recovery.in_place = InPlace::on;
    it.plan.experiment.checkpoint.resume_args = {"from {checkpoint}"};
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    std::ofstream{join_path(it.plan.paths.file("work"), "go")};
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::finished);
    CHECK(outcome.generations == 2);
    CHECK(!outcome.resumed_step); // the attempt began at the beginning
    CHECK(slurp(it.dir / "progress.json").find("\"resumed_step\":40") != std::string::npos);
    const auto lines = split(it.work("gen.3"), '\n');
    REQUIRE(lines.size() >= 2);
    const auto first = split(lines[0], ' '), second = split(lines[1], ' ');
    REQUIRE(second.size() == 5);
    CHECK(second[0] == "2");
    CHECK(second[1] != first[1]); // a new port
    CHECK(second[2] == "ckpt");
    CHECK(second[4] == "ckpt");
    CHECK(slurp(it.dir / "journal").find("generation_ended") != std::string::npos);
    CHECK(slurp(it.dir / "journal").find("rank 2 on n2 exited with code 7") != std::string::npos);
}

TEST_CASE("flow: the same error again and again ends the attempt early, with the failures counted") {
    Attempt it{"echo x > up.$RANK; [ $RANK = 1 ] && { echo no such file >&2; exit 3; }; sleep 2010"};
    it.plan.experiment.recovery.in_place = InPlace::on;
    it.start();
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::rank_failed);
    CHECK(outcome.generations == 3);
    CHECK(outcome.failures == 3);
    CHECK(outcome.exit_code == 3);
    REQUIRE(outcome.first);
    CHECK(outcome.first->last_lines.back() == "no such file");
}

TEST_CASE("flow: an agent that dies on a living node is started again, and so are its ranks") {
    for (const bool step : {false, true}) {
        CAPTURE(step);
        Attempt it{staying + "[ $TRAINCTL_GENERATION = 2 ] && exit 0; sleep 2011"};
        it.plan.experiment.recovery.in_place = InPlace::on;
        it.plan.experiment.environment.setup = "echo x >> setups";
        it.start();
        REQUIRE(eventually([&] { return it.all_up(); }));
        ::kill(it.agent("n2"), SIGKILL);
        if (step)
            ::kill(it.agent("n1"), SIGKILL);
        const auto outcome = it.finish();
        INFO(slurp(it.plan.paths.attempt_file(it.plan.attempt, "logs/agent.log")));
        CHECK(outcome.kind == OutcomeKind::finished);
        CHECK(outcome.generations == 2);
        CHECK(outcome.suspect_nodes.empty());
        CHECK(split(it.work("setups"), '\n').size() >= (step ? 4u : 3u)); // a new agent sets its node up again
    }
}

TEST_CASE("flow: a node that is lost gives way to a spare, which is set up already") {
    Attempt it{staying + "echo $TRAINCTL_NODE > node.$RANK; [ $TRAINCTL_GENERATION = 2 ] && exit 0; sleep 2012"};
    it.plan.experiment.recovery.in_place = InPlace::on;
    it.plan.nodes = {"n1", "n2", "n3"};
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    REQUIRE(eventually([&] { return !slurp(it.dir / "agent.n3").empty(); }));
    ::kill(it.agent("n1"), SIGSTOP); // silent, but not dead: its guard holds the ranks' lease
    const auto outcome = it.finish();
    ::kill(it.agent("n1"), SIGKILL);
    CHECK(outcome.kind == OutcomeKind::finished);
    CHECK(outcome.suspect_nodes == std::vector<std::string>{"n1"});
    CHECK(it.work("node.0") == "n3\n");
    CHECK(it.work("node.2") == "n2\n");
}

TEST_CASE("flow: a head that is gone for good has its job ended by an agent; one that beats has not") {
    constexpr Duration lease = 4s;
    constexpr int most_tries = 5;
    for (const bool beats : {false, true}) {
        CAPTURE(beats);
        Duration longest = 0s; // between two beats: on a machine that stands still for so long, nothing is shown
        int tries = 0;
        do {
            Attempt it{staying + "sleep 2014"};
            it.plan.experiment.recovery.lease = std::chrono::duration_cast<std::chrono::seconds>(lease);
            it.plan.tools.scancel = it.dir / "scancel";
            std::ofstream{it.dir / "scancel"} << "#!/bin/sh\necho \"$@\" >> \"$STATE/cancelled\"\n";
            ::chmod(it.plan.tools.scancel.c_str(), 0700);
            const auto beat = it.plan.paths.attempt_file({1}, "progress.json");
            std::ofstream{beat} << "1";
            it.start();
            REQUIRE(eventually([&] { return it.all_up(); }));
            ::kill(it.head, SIGKILL);
            ::waitpid(it.head, nullptr, 0);
            it.head = -1;
            const auto watched = it.plan.paths.attempt_file({1}, "watched-by.n1");
            int count = 1, looks = 0;
            longest = 0s;
            auto last = std::chrono::steady_clock::now();
            const bool seen = eventually([&] {
                if (!beats)
                    return slurp(it.dir / "cancelled").find("77\n") != std::string::npos;
                std::ofstream{beat + ".new"} << ++count;
                std::filesystem::rename(beat + ".new", beat); // nobody reads half of it
                longest = std::max<Duration>(longest, std::chrono::steady_clock::now() - std::exchange(last, std::chrono::steady_clock::now()));
                if (!slurp(watched).empty() && std::filesystem::remove(watched))
                    ++looks;
                return looks == 3 || longest >= lease;
            }, 60s);
            if (longest < lease) {
                CHECK(seen);
                const auto noted = slurp(it.plan.paths.attempt_file({1}, "abandoned.json"));
                CHECK((noted.find("the head is gone") != std::string::npos) == !beats);
                CHECK(eventually([&] { return it.marked().empty(); }));
            }
            for (const char *node : {"n1", "n2"}) // a real scancel would end them
                ::kill(it.agent(node), SIGKILL);
        } while (longest >= lease && ++tries < most_tries);
        CHECK(tries < most_tries);
    }
}

TEST_CASE("flow: a hang is seen, its evidence kept, and the training restarted") {
    Attempt it{staying + "[ $TRAINCTL_GENERATION = 2 ] && exit 0; echo '{\"step\": 5}' >> $TRAINCTL_PROGRESS; sleep 2013"};
    it.plan.experiment.recovery.in_place = InPlace::on;
    it.plan.experiment.health.stall_timeout = "2s";
    it.start();
    const auto outcome = it.finish();
    CHECK(outcome.kind == OutcomeKind::finished);
    CHECK(outcome.generations == 2);
    const auto evidence = slurp(it.plan.paths.attempt_file({1}, "logs/g01/n2.evidence.txt"));
    CHECK(evidence.find("rank 3") != std::string::npos);
    CHECK(slurp(it.dir / "journal").find("after step 5") != std::string::npos);
}
