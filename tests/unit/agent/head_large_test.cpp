// A fleet that is too large to be looked at for each message: what follows from one comes a moment later, and no less.
#include "head_rig.h"

using namespace trainctl;

namespace {

HeadConfig large(int nodes) {
    HeadConfig config = in_place();
    config.nodes.clear();
    for (int i = 0; i < nodes; ++i)
        config.nodes.push_back("n" + std::to_string(i));
    config.needed = nodes - 2; // two spares
    config.ranks_per_node = 1;
    return config;
}

void exit_at(Rig &rig, int rank, int code) {
    RankExit out;
    out.rank = rank;
    out.node = rig.machine.members()[static_cast<std::size_t>(rank)];
    out.exit_code = code;
    out.at_s = 5;
    rig.give(RankExited{rig.machine.generation(), out});
}

} // namespace

TEST_CASE("large fleet: starts, restarts, replaces a silent node, and finishes") {
    for (const int nodes : {100, 129, 700}) {
        CAPTURE(nodes);
        Rig rig{large(nodes)};
        for (const auto &node : rig.nodes)
            rig.give(NodeConnected{node});
        rig.pass(1s);
        for (const auto &node : rig.nodes)
            rig.give(SetupDone{node, true, ""});
        rig.pass(1s);
        REQUIRE(rig.machine.phase() == HeadPhase::training);
        REQUIRE(rig.machine.members().size() == static_cast<std::size_t>(nodes - 2));
        // A crash is acted on with the message that tells of it.
        exit_at(rig, 3, 1);
        REQUIRE(rig.count<KillRanks>() == 1);
        for (const auto &node : rig.machine.members())
            rig.die(node);
        rig.pass(1s);
        REQUIRE(rig.count<ChooseCheckpoint>() == 1);
        rig.give(CheckpointChosen{checkpoint(40), ""});
        rig.pass(1s);
        REQUIRE(rig.machine.generation() == 2);
        // So is silence, by the clock.
        const auto lost = rig.machine.members().front();
        rig.silent = {lost};
        rig.pass(12s);
        REQUIRE(rig.count<KillRanks>() == 2);
        for (const auto &node : rig.nodes)
            if (node != lost)
                rig.die(node);
        rig.pass(2s);
        rig.give(CheckpointChosen{checkpoint(60), ""});
        rig.pass(1s);
        REQUIRE(rig.machine.generation() == 3);
        CHECK(std::count(rig.machine.members().begin(), rig.machine.members().end(), lost) == 0);
        for (int rank = 0; rank < nodes - 2; ++rank)
            exit_at(rig, rank, 0);
        rig.pass(1s);
        for (const auto &node : rig.machine.members())
            rig.die(node);
        rig.pass(1s);
        CHECK(rig.kind() == OutcomeKind::finished);
    }
}

TEST_CASE("large fleet: what a message leaves undone has a time by which it is done") {
    Rig rig{large(400)};
    for (const auto &node : rig.nodes)
        rig.give(NodeConnected{node});
    rig.pass(1s);
    for (const auto &node : rig.nodes)
        rig.give(SetupDone{node, true, ""});
    REQUIRE(rig.machine.wake_at());
    const Instant wake = *rig.machine.wake_at();
    CHECK(wake - rig.now <= 10ms);
    rig.now = std::max(rig.now, wake);
    rig.give(Tick{});
    CHECK(rig.machine.phase() == HeadPhase::training);
}
