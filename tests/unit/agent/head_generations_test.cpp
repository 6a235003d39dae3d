// Restarts inside the allocation: the head's machine from one generation to the next.
#include "head_rig.h"

using namespace trainctl;

namespace {

// A generation that breaks at rank 0 and is dead, up to the choice of a checkpoint.
void crash(Rig &rig) {
    rig.exit(0, 1);
    for (const auto &node : rig.machine.members())
        rig.die(node);
    REQUIRE(rig.machine.phase() == HeadPhase::choosing);
}

const StartGeneration *last_start(const Rig &rig) {
    const StartGeneration *found = nullptr;
    for (const auto &action : rig.actions)
        if (const auto *start = std::get_if<StartGeneration>(&action))
            found = start;
    return found;
}

} // namespace

TEST_CASE("generations: a rank that dies is followed by the next generation, from the checkpoint chosen when all are dead") {
    Rig rig{in_place()};
    rig.train();
    rig.exit(2, 7, 0, 7.0);
    CHECK(rig.count<KillRanks>() == 1);
    CHECK(rig.count<ChooseCheckpoint>() == 0);
    rig.die("n1");
    CHECK(rig.count<ChooseCheckpoint>() == 0);
    rig.die("n2");
    REQUIRE(rig.count<ChooseCheckpoint>() == 1);
    REQUIRE(rig.count<GenerationEnded>() == 1);
    CHECK(rig.count<StartGeneration>() == 0);
    rig.give(CheckpointChosen{checkpoint(120), ""});
    REQUIRE(last_start(rig) != nullptr);
    CHECK(last_start(rig)->generation == 2);
    CHECK(last_start(rig)->nodes == std::vector<std::string>{"n1", "n2"});
    CHECK(last_start(rig)->resume_from->step == 120);
    CHECK(rig.machine.last_failure() == "generation 1: rank 2 on n2 exited with code 7");
    // What comes late of the generation before changes nothing.
    RankExit late;
    late.rank = 1;
    late.exit_code = 1;
    rig.give(RankExited{1, late});
    CHECK(rig.machine.phase() == HeadPhase::training);
    for (int rank = 0; rank < 4; ++rank)
        rig.exit(rank, 0);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::finished);
    CHECK(rig.outcome->generations == 2);
}

TEST_CASE("generations: failures in a row without a newer checkpoint end the attempt, a newer one counts anew") {
    auto config = in_place();
    config.resumed_step = 100;
    Rig rig{config};
    rig.train();
    crash(rig);
    rig.give(CheckpointChosen{checkpoint(100), ""}); // the first
    crash(rig);
    rig.give(CheckpointChosen{checkpoint(100), ""}); // the second
    crash(rig);
    rig.give(CheckpointChosen{checkpoint(130), ""}); // progress
    REQUIRE(!rig.outcome);
    for (int failure = 0; failure < 2; ++failure) {
        crash(rig);
        rig.give(CheckpointChosen{checkpoint(130), ""});
        REQUIRE(!rig.outcome);
    }
    crash(rig);
    rig.give(CheckpointChosen{checkpoint(130), ""});
    CHECK(rig.kind() == OutcomeKind::rank_failed);
    CHECK(rig.outcome->failures == 3);
    CHECK(rig.outcome->generations == 6);
    CHECK(rig.outcome->exit_code == 1);
    CHECK(rig.outcome->checkpoint_step == 130);
}

TEST_CASE("generations: who asks not to be started again, an end that was asked for, and in_place: off are obeyed") {
    Rig asked{in_place()};
    asked.train();
    asked.exit(0, 93);
    asked.all_dead();
    CHECK(asked.kind() == OutcomeKind::do_not_restart);

    Rig off;
    off.train();
    off.exit(0, 1);
    off.all_dead();
    CHECK(off.kind() == OutcomeKind::rank_failed);

    for (const HeadInput &wish : {HeadInput{StopWish{}}, HeadInput{TermSignal{}}, HeadInput{EarlySignal{}}, HeadInput{Superseded{}}}) {
        CAPTURE(wish.index());
        for (const int when : {0, 1, 2}) { // while killing, choosing, recruiting
            CAPTURE(when);
            auto config = in_place();
            config.save_signal = "USR1";
            Rig rig{config};
            rig.train();
            rig.exit(0, 1);
            if (when >= 1)
                rig.all_dead();
            if (when == 2) {
                rig.give(NodeClosed{"n2"});
                rig.silent = {"n2"};
                rig.pass(11s);
                rig.give(CheckpointChosen{checkpoint(5), ""});
                REQUIRE(rig.machine.phase() == HeadPhase::recruiting);
            }
            rig.give(wish);
            if (when == 0)
                rig.all_dead();
            if (rig.machine.phase() != HeadPhase::ended)
                rig.give(CheckpointChosen{checkpoint(5), ""});
            if (std::holds_alternative<Superseded>(wish) && when > 0)
                continue; // no ranks live; the next beat of its successor's is not ours to see
            CHECK(rig.outcome.has_value());
            CHECK(rig.count<StartGeneration>() == 0);
        }
    }
}

TEST_CASE("generations: a lost node gives way to a spare, once its own ranks are dead by their lease") {
    Rig rig{with_spare()};
    rig.train();
    CHECK(rig.machine.members() == std::vector<std::string>{"n1", "n2"});
    rig.silent = {"n1"};
    rig.pass(10s);
    REQUIRE(rig.machine.phase() == HeadPhase::killing);
    rig.die("n2");
    CHECK(rig.count<ChooseCheckpoint>() == 0);
    rig.pass(500ms);
    REQUIRE(rig.count<ChooseCheckpoint>() == 1);
    rig.give(CheckpointChosen{checkpoint(40), ""});
    REQUIRE(last_start(rig) != nullptr);
    CHECK(last_start(rig)->nodes == std::vector<std::string>{"n3", "n2"}); // it takes the place of the lost one
    CHECK(!rig.outcome);
}

TEST_CASE("generations: without a spare it shrinks where that is allowed, and hands over where not") {
    for (const int min_nodes : {0, 1}) {
        CAPTURE(min_nodes);
        auto config = in_place();
        config.min_nodes = min_nodes;
        Rig rig{config};
        rig.train();
        rig.give(NodeClosed{"n2"});
        rig.silent = {"n2"};
        rig.pass(11s);
        rig.die("n1");
        rig.give(CheckpointChosen{checkpoint(40), ""});
        CHECK(rig.count<StartAgents>() == 1); // perhaps its node lives
        rig.pass(4s);
        if (min_nodes == 1) {
            REQUIRE(last_start(rig) != nullptr);
            CHECK(last_start(rig)->nodes == std::vector<std::string>{"n1"});
            for (int rank = 0; rank < 2; ++rank)
                rig.exit(rank, 0);
            rig.die("n1");
            CHECK(rig.kind() == OutcomeKind::finished);
        } else {
            CHECK(!rig.outcome);
            rig.pass(20s);
            CHECK(rig.kind() == OutcomeKind::node_lost);
            CHECK(rig.outcome->suspect_nodes == std::vector<std::string>{"n2"});
        }
    }
}

TEST_CASE("generations: agents that died on living nodes are started again, and set up again") {
    Rig rig{in_place()};
    rig.train();
    for (const char *node : {"n1", "n2"})
        rig.give(NodeClosed{node});
    rig.silent = {"n1", "n2"};
    rig.give(StepEnded{"srun: error: n1: task 0: Killed"});
    rig.pass(11s);
    rig.give(CheckpointChosen{checkpoint(40), ""});
    REQUIRE(rig.count<StartAgents>() == 1);
    rig.silent = {};
    for (const char *node : {"n1", "n2"}) {
        rig.give(NodeConnected{node});
        rig.give(NodeRenewed{node});
    }
    CHECK(rig.count<StartGeneration>() == 0);
    CHECK(rig.count<StartSetup>() >= 1);
    for (const char *node : {"n1", "n2"}) {
        rig.die(node);
        rig.give(SetupDone{node, true, ""});
    }
    REQUIRE(last_start(rig) != nullptr);
    CHECK(last_start(rig)->generation == 2);
    for (int rank = 0; rank < 4; ++rank)
        rig.exit(rank, 0);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::finished);
    CHECK(rig.outcome->suspect_nodes.empty()); // they are here again
}

TEST_CASE("generations: an agent that was replaced between two reports has lost its ranks") {
    Rig rig{in_place()};
    rig.train();
    rig.give(NodeRenewed{"n2"});
    CHECK(rig.machine.phase() == HeadPhase::killing);
}

TEST_CASE("generations: a node that is not fit is reported, and a spare trains in its place") {
    Rig rig{with_spare()};
    for (const auto &node : rig.nodes)
        rig.give(NodeConnected{node});
    rig.give(SetupDone{"n1", false, "disk full", true});
    CHECK(rig.count<ReportNode>() == 1);
    rig.give(SetupDone{"n2", true, ""});
    rig.give(SetupDone{"n3", true, ""});
    REQUIRE(last_start(rig) != nullptr);
    CHECK(last_start(rig)->nodes == std::vector<std::string>{"n2", "n3"});
    // And without a spare the attempt ends, with the node named.
    Rig none{in_place()};
    for (const auto &node : none.nodes)
        none.give(NodeConnected{node});
    none.give(SetupDone{"n1", false, "disk full", true});
    CHECK(none.kind() == OutcomeKind::setup_failed);
    CHECK(none.outcome->suspect_nodes == std::vector<std::string>{"n1"});
}

TEST_CASE("generations: a setup that fails everywhere is no node's fault") {
    for (const bool everywhere : {true, false}) {
        CAPTURE(everywhere);
        Rig rig{in_place()};
        for (const auto &node : rig.nodes)
            rig.give(NodeConnected{node});
        rig.give(SetupDone{"n2", !everywhere, ""});
        if (!rig.outcome)
            rig.give(SetupDone{"n1", false, "no such module", false});
        CHECK(rig.kind() == OutcomeKind::setup_failed);
        CHECK(rig.outcome->suspect_nodes == (everywhere ? std::vector<std::string>{} : std::vector<std::string>{"n1"}));
        CHECK(rig.count<ReportNode>() == 0);
    }
}

TEST_CASE("generations: a process that does not die costs its node, not the attempt") {
    Rig rig{with_spare()};
    rig.train();
    rig.exit(0, 1);
    rig.die("n1");
    rig.die("n2", false);
    REQUIRE(rig.count<ChooseCheckpoint>() == 1);
    CHECK(rig.count<ReportNode>() == 1);
    rig.give(CheckpointChosen{checkpoint(9), ""});
    REQUIRE(last_start(rig) != nullptr);
    CHECK(last_start(rig)->nodes == std::vector<std::string>{"n1", "n3"});
}

TEST_CASE("generations: a hang is looked at first, then restarted; one that ends by itself is not") {
    auto config = in_place();
    config.stall.mode = StallSetting::Mode::fixed;
    config.stall.fixed = 60s;
    Rig rig{config};
    rig.train();
    rig.give(ProgressSeen{100, 1.0, {}, ""});
    rig.pass(59s);
    CHECK(rig.count<CollectEvidence>() == 0);
    rig.pass(2s);
    REQUIRE(rig.count<CollectEvidence>() == 1);
    rig.give(ProgressSeen{101, 1.0, {}, ""}); // it was only slow
    rig.pass(20s);
    CHECK(rig.machine.phase() == HeadPhase::training);
    rig.pass(52s); // a minute after its last sign, and ten seconds for the agents to answer
    REQUIRE(rig.count<CollectEvidence>() == 2);
    CHECK(rig.count<KillRanks>() == 1); // ten seconds after it asked
    rig.all_dead();
    rig.give(CheckpointChosen{checkpoint(90), ""});
    REQUIRE(last_start(rig) != nullptr);
    CHECK(rig.machine.last_failure().find("no new step") != std::string::npos);
}

TEST_CASE("generations: a training that is done, or has a rank that ended, takes its time, and hangs all the same after hours") {
    for (const bool by_step : {true, false}) {
        CAPTURE(by_step);
        auto config = in_place();
        config.stall.mode = StallSetting::Mode::fixed;
        config.stall.fixed = 60s;
        config.total_steps = 500;
        Rig rig{config};
        rig.train();
        rig.give(ProgressSeen{by_step ? 500 : 499, 1.0, {}, ""});
        if (!by_step)
            rig.exit(0, 0);
        rig.pass(4h - 1min);
        CHECK(rig.count<CollectEvidence>() == 0);
        rig.pass(2min);
        CHECK(rig.count<CollectEvidence>() == 1);
        CHECK(rig.count<KillRanks>() == 1);
    }
}

TEST_CASE("generations: evidence of all nodes ends a hang at once") {
    auto config = in_place();
    config.stall.mode = StallSetting::Mode::fixed;
    config.stall.fixed = 60s;
    Rig rig{config};
    rig.train();
    rig.give(ProgressSeen{1, {}, {}, ""});
    rig.pass(61s);
    REQUIRE(rig.count<CollectEvidence>() == 1);
    rig.give(EvidenceDone{"n1", 1, "rank 0 in futex_wait"});
    CHECK(rig.count<KillRanks>() == 0);
    rig.give(EvidenceDone{"n2", 1, "rank 2 in futex_wait"});
    CHECK(rig.count<KillRanks>() == 1);
}

TEST_CASE("generations: near the time limit nothing is started any more") {
    auto config = in_place();
    Rig probe;
    config.limit = probe.now + 100s;
    Rig rig{config};
    rig.train();
    rig.pass(75s);
    rig.exit(0, 1);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::rank_failed);
    // A job that lives on long after its limit was given more time.
    Rig extended{config};
    extended.train();
    extended.pass(100s + 6min);
    extended.exit(0, 1);
    extended.all_dead();
    CHECK(extended.count<ChooseCheckpoint>() == 1);
}
