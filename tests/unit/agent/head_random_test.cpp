#include "head_rig.h"

using namespace trainctl;

TEST_CASE("generations: whatever comes in whatever order, it ends, and no ranks are started while others may live") {
    for (unsigned seed = 1; seed <= 2000; ++seed) {
        CAPTURE(seed);
        std::mt19937 random{seed};
        const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
        auto config = with_spare();
        config.min_nodes = pick(2);
        config.in_place = pick(8) != 0;
        config.stall.mode = StallSetting::Mode::fixed;
        config.stall.fixed = 90s;
        if (pick(2) == 0)
            config.save_signal = "USR1";
        Rig rig{config};
        rig.beats_work = pick(4) != 0;
        std::map<std::string, Instant> heard;
        std::map<std::string, int> dead, ranks_of;
        bool ending = false;
        int kills = 0, starts = 0, finishes = 0;
        const auto look = [&] {
            for (const auto &action : rig.actions) {
                if (const auto *start = std::get_if<StartGeneration>(&action)) {
                    CHECK(!ending);
                    CHECK(start->generation == ++starts);
                    for (const auto &[node, generation] : ranks_of)
                        CHECK((dead[node] >= generation || rig.now - heard[node] >= config.node_timeout));
                    for (const auto &node : start->nodes)
                        ranks_of[node] = start->generation;
                }
                kills += std::holds_alternative<KillRanks>(action) ? 1 : 0;
                finishes += std::holds_alternative<Finish>(action) ? 1 : 0;
            }
            rig.actions.clear();
        };
        const auto give = [&](const HeadInput &input) {
            rig.give(input);
            look();
        };
        for (int i = 0; i < 300; ++i) {
            const std::string node = rig.nodes[static_cast<std::size_t>(pick(3))];
            const auto hear = [&] { heard[node] = rig.now; };
            switch (pick(22)) {
            case 0: case 1: hear(); give(NodeConnected{node}); break;
            case 2: case 3: give(SetupDone{node, pick(20) != 0, "x", pick(2) == 0}); break;
            case 4: give(NodeClosed{node}); break;
            case 5:
                if (rig.machine.generation() > 0)
                    rig.exit(pick(4), pick(3) == 0 ? 0 : pick(94), pick(5) == 0 ? 15 : 0, pick(100));
                look();
                break;
            case 6: case 7: case 8: { // as an agent says it: of what it was told to kill
                const int generation = rig.machine.phase() > HeadPhase::saving ? rig.machine.generation() : rig.machine.generation() - 1;
                if (generation > 0) {
                    dead[node] = std::max(dead[node], generation);
                    hear();
                    rig.give(NodeHeard{node});
                    give(NodeRanksDead{node, generation, true});
                }
                break;
            }
            case 9: if (pick(10) == 0) give(NodeTerm{node}); break;
            case 10: give(CheckpointPolled{checkpoint(pick(100))}); break;
            case 11: if (pick(10) == 0) give(StepEnded{"x"}); break;
            case 12: if (pick(10) == 0) give(EarlySignal{}); break;
            case 13: if (pick(20) == 0) { ending = true; give(TermSignal{}); } break;
            case 14: if (pick(20) == 0) { ending = true; give(StopWish{}); } break;
            case 15: give(BeatFailed{"x"}); break;
            case 16: if (pick(40) == 0) give(Superseded{}); break;
            case 17: case 18: give(CheckpointChosen{checkpoint(pick(200)), pick(20) == 0 ? "x" : ""}); break;
            case 19: give(SaveWish{}); break;
            case 20: if (pick(5) == 0) { hear(); give(NodeRenewed{node}); } break;
            default: {
                rig.silent.clear();
                if (pick(3) == 0)
                    rig.silent.insert(node);
                const Duration time = std::chrono::milliseconds{pick(3000)};
                const Instant end = rig.now + time;
                while (rig.now < end) {
                    rig.now += std::min<Duration>(500ms, end - rig.now);
                    for (const auto &name : rig.nodes)
                        if (rig.silent.count(name) == 0) {
                            heard[name] = rig.now;
                            give(NodeHeard{name});
                        }
                    give(Tick{});
                    // Whoever asks to be woken at once after it was woken never sleeps.
                    if (const auto wake = rig.machine.wake_at())
                        CHECK(*wake > rig.now);
                }
                break;
            }
            }
        }
        // Somebody must say that the training is over; from then on time alone ends it.
        ending = true;
        give(TermSignal{});
        rig.silent = {rig.nodes.begin(), rig.nodes.end()};
        rig.pass(400s);
        look();
        CHECK(rig.outcome.has_value());
        CHECK(finishes == 1);
        CHECK(kills == starts); // ranks that were started are killed, once
    }
}
