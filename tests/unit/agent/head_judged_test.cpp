// What the head makes of a failure that was judged: restarts, waits, leaves nodes out, hands over, stops.
#include "head_rig.h"

#include <csignal>

using namespace trainctl;

namespace {

HeadConfig judged(HeadConfig config) {
    config.judged = true;
    return config;
}

Failure failure(RulingKind ruling, const char *name = "hang") {
    Failure out;
    out.failure_class = name;
    out.what = "what it was";
    out.ruling = ruling;
    out.reason = "why so";
    return out;
}

struct JudgedRig : Rig {
    explicit JudgedRig(HeadConfig config) : Rig(judged(std::move(config))) { train(); }

    // A rank fails, all are dead; what is asked of whoever judges.
    FailureFacts fail(int rank = 3) {
        exit(rank, 1);
        all_dead();
        REQUIRE(count<ChooseCheckpoint>() > 0);
        for (auto action = actions.rbegin();; ++action)
            if (const auto *choose = std::get_if<ChooseCheckpoint>(&*action))
                return choose->facts;
    }
    void judge(const Failure &verdict, std::optional<CheckpointSeen> newest = {}) { give(CheckpointChosen{std::move(newest), "", verdict}); }
};

} // namespace

TEST_CASE("judged: whoever judges is told what the head saw") {
    JudgedRig rig{in_place()};
    rig.give(ProgressSeen{41, {}, {}});
    const auto facts = rig.fail();
    CHECK(facts.generation == 1);
    CHECK(facts.kind == OutcomeKind::rank_failed);
    CHECK(facts.step == 41);
    CHECK(facts.first->rank == 3);
    CHECK(facts.exits.size() == 1);
    CHECK(facts.nodes == std::vector<std::string>{"n1", "n2"});
    CHECK(facts.earlier.empty());
    rig.judge(failure(RulingKind::restart_in_place));
    CHECK(rig.machine.generation() == 2);
    CHECK(rig.fail().earlier.size() == 1);
}

TEST_CASE("judged: a ruling to stop or to hand over ends the attempt, with its reason and the history") {
    for (const auto kind : {RulingKind::stop, RulingKind::hand_over}) {
        JudgedRig rig{in_place()};
        rig.fail();
        rig.judge(failure(kind));
        CHECK(rig.kind() == OutcomeKind::rank_failed);
        CHECK(rig.outcome->text.find("why so") != std::string::npos);
        REQUIRE(rig.outcome->history.size() == 1);
        CHECK(rig.outcome->history[0].ruling == kind);
        CHECK(rig.outcome->ranks_dead);
    }
}

TEST_CASE("judged: the next generation waits as long as it is told, and no longer for other nodes") {
    JudgedRig rig{in_place()};
    rig.fail();
    auto slow = failure(RulingKind::restart_in_place);
    slow.wait_s = 60;
    rig.judge(slow);
    rig.pass(59s);
    CHECK(rig.machine.generation() == 1);
    CHECK(!rig.outcome);
    rig.pass(2s);
    CHECK(rig.machine.generation() == 2);
}

TEST_CASE("judged: a node that is to be avoided is replaced by a spare, or its job hands over, and it is a suspect") {
    auto bad = failure(RulingKind::restart_in_place, "gpu-ecc");
    bad.avoid = {"n2"};
    JudgedRig spare{with_spare()};
    spare.fail();
    spare.judge(bad);
    CHECK(spare.machine.generation() == 2);
    CHECK(spare.machine.members() == std::vector<std::string>{"n1", "n3"});
    CHECK(spare.count<ReportNode>() == 1);
    JudgedRig none{in_place()};
    none.fail();
    none.judge(bad);
    none.pass(2min);
    CHECK(none.kind() == OutcomeKind::node_lost);
    CHECK(none.outcome->suspect_nodes == std::vector<std::string>{"n2"});
}

TEST_CASE("judged: a newer checkpoint forgets the failures before it") {
    JudgedRig rig{in_place()};
    rig.fail();
    rig.judge(failure(RulingKind::restart_in_place), checkpoint(10));
    rig.fail();
    rig.judge(failure(RulingKind::restart_in_place), checkpoint(10));
    CHECK(rig.fail().earlier.size() == 2);
    rig.judge(failure(RulingKind::restart_in_place), checkpoint(20));
    CHECK(rig.fail().earlier.size() == 1);
}

TEST_CASE("judged: with in_place off a failure is judged as well, for the next attempt; a job that is told to end has no time") {
    JudgedRig rig{Rig::standard()};
    rig.fail();
    CHECK(!rig.outcome);
    rig.judge(failure(RulingKind::restart_in_place));
    CHECK(rig.kind() == OutcomeKind::rank_failed);
    CHECK(rig.outcome->history.size() == 1);
    JudgedRig told{in_place()};
    told.give(TermSignal{});
    told.exit(3, 0, SIGTERM);
    told.exit(2, 0, SIGTERM);
    told.all_dead();
    told.pass(30s);
    CHECK(told.count<ChooseCheckpoint>() == 0);
}

TEST_CASE("judged: what is known of earlier attempts is handed on until there is a newer checkpoint than they left") {
    auto config = in_place();
    config.resumed_step = 10;
    config.earlier = {failure(RulingKind::hand_over)};
    JudgedRig rig{config};
    CHECK(rig.fail().earlier.size() == 1);
    rig.judge(failure(RulingKind::restart_in_place), checkpoint(10));
    CHECK(rig.fail().earlier.size() == 2);
}

TEST_CASE("judged: what agents saw of a generation is handed on with it, the newest of each node, and not to the next one") {
    JudgedRig rig{in_place()};
    const auto saw = [&](const std::string &node, int generation, std::int64_t kills) {
        rig.give(NodeSaw{{node, generation, kills, false, {}}});
    };
    rig.pass(10s);
    rig.give(ProgressSeen{5, {}, {}});
    saw("n1", 1, 0);
    saw("n2", 1, 0);
    saw("n2", 1, 1);
    saw("n1", 7, 9); // of no generation that is known
    const auto facts = rig.fail();
    REQUIRE(facts.sights.size() == 2);
    CHECK(facts.sights[0].oom_kills == 0);
    CHECK(facts.sights[1].node == "n2");
    CHECK(facts.sights[1].oom_kills == 1);
    CHECK(facts.stepped_s == doctest::Approx(10));
    rig.judge(failure(RulingKind::restart_in_place), checkpoint(10));
    rig.pass(1s);
    REQUIRE(rig.machine.generation() == 2);
    saw("n2", 1, 1); // late
    const auto next = rig.fail();
    CHECK(next.sights.empty());
    CHECK(!next.stepped_s);
}

TEST_CASE("judged: agents that look at their chips are waited for, for a while, and not by who ends anyway") {
    const auto looking = [](JudgedRig &rig, bool still) { rig.give(NodeSaw{{"n2", rig.machine.generation(), {}, still, {}}}); };
    const auto fails = [&](JudgedRig &rig) {
        rig.exit(3, 1);
        looking(rig, true);
        rig.all_dead();
    };
    JudgedRig told{in_place()};
    fails(told);
    CHECK(told.count<ChooseCheckpoint>() == 0);
    looking(told, false);
    CHECK(told.count<ChooseCheckpoint>() == 1);

    JudgedRig untold{in_place()};
    fails(untold);
    untold.pass(2s);
    CHECK(untold.count<ChooseCheckpoint>() == 0);
    const auto wake = untold.machine.wake_at();
    REQUIRE(wake);
    CHECK(*wake > untold.now);
    untold.pass(1s);
    CHECK(untold.count<ChooseCheckpoint>() == 1);

    JudgedRig gone{in_place()};
    gone.exit(3, 1);
    looking(gone, true);
    gone.give(NodeClosed{"n2"});
    gone.all_dead();
    CHECK(gone.count<ChooseCheckpoint>() == 1);

    JudgedRig ending{in_place()};
    ending.exit(3, 1);
    looking(ending, true);
    ending.give(TermSignal{});
    ending.give(StopWish{false});
    ending.all_dead();
    CHECK(ending.outcome.has_value());
}
