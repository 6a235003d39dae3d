// Saves that were asked for: stop, cancel, checkpoint-now, and what ends while one is awaited.
#include "head_rig.h"

using namespace trainctl;

TEST_CASE("head: stop saves where that can be done, and kills where not") {
    for (const bool can_save : {false, true}) {
        CAPTURE(can_save);
        Rig rig{can_save ? Rig::saving() : Rig::standard()};
        rig.train();
        rig.give(StopWish{});
        rig.give(StopWish{});
        CHECK(rig.count<KillRanks>() == (can_save ? 0u : 1u));
        rig.pass(62s);
        CHECK(rig.count<KillRanks>() == 1);
        rig.all_dead();
        if (can_save)
            CHECK(rig.kind() == OutcomeKind::stopped);
    }
    Rig early;
    early.give(StopWish{});
    CHECK(early.kind() == OutcomeKind::stopped);
}

TEST_CASE("head: a cancel looks like a preemption at first, and gets no save") {
    for (const bool cancelled : {true, false}) {
        CAPTURE(cancelled);
        Rig rig{Rig::saving()};
        rig.train();
        rig.give(NodeTerm{"n1"});
        CHECK(rig.count<LookAtWishes>() == 1);
        rig.give(CheckpointPolled{});
        CHECK(rig.count<SendSave>() == 0);
        if (cancelled)
            rig.give(StopWish{false});
        rig.give(WishesSeen{});
        CHECK(rig.count<SendSave>() == (cancelled ? 0u : 1u));
        CHECK(rig.count<KillRanks>() == (cancelled ? 1u : 0u));
    }
    Rig blind{Rig::saving()}; // control/ can't be read: saved rather than lost
    blind.train();
    blind.give(TermSignal{});
    blind.give(CheckpointPolled{});
    blind.pass(1s);
    CHECK(blind.count<SendSave>() == 1);
}

TEST_CASE("generations: checkpoint-now saves, and training goes on") {
    auto config = in_place();
    config.save_signal = "USR1";
    Rig rig{config};
    rig.train();
    rig.give(SaveWish{});
    rig.give(SaveWish{});
    CHECK(rig.count<PollCheckpoint>() == 1);
    rig.give(CheckpointPolled{checkpoint(100)});
    CHECK(rig.count<SendSave>() == 1);
    rig.pass(3s);
    rig.give(CheckpointPolled{checkpoint(107)});
    CHECK(rig.machine.phase() == HeadPhase::training);
    SUBCASE("a training that ends with its save is started again, and that is no failure") {
        for (int round = 0; round < 5; ++round) {
            for (int rank = 0; rank < 4; ++rank)
                rig.exit(rank, 75);
            for (const auto &node : rig.nodes)
                rig.die(node);
            rig.give(CheckpointChosen{checkpoint(107), ""});
            REQUIRE(rig.machine.phase() == HeadPhase::training);
            rig.give(SaveWish{});
            rig.pass(1500ms);
        }
        CHECK(rig.machine.generation() == 6);
    }
    const auto saves = [](const Rig &of) {
        return std::count_if(of.actions.begin(), of.actions.end(), [](const auto &action) {
            const auto *note = std::get_if<Note>(&action);
            return note != nullptr && note->event == "saved" && note->data.at("step") == 107 && note->data.at("took_s") == 3.0;
        });
    };
    CHECK(saves(rig) == 1);
    SUBCASE("one that goes on goes on, and a rank that dies later is a failure") {
        rig.pass(100s);
        CHECK(rig.machine.phase() == HeadPhase::training);
        CHECK(rig.machine.generation() == 1);
        rig.exit(3, 1);
        CHECK(rig.machine.phase() == HeadPhase::killing);
    }
    SUBCASE("a rank that dies with the save while the others go on is a failure in the end") {
        rig.exit(3, 1);
        CHECK(rig.machine.phase() == HeadPhase::training);
        rig.pass(15s);
        CHECK(rig.machine.phase() == HeadPhase::killing);
    }
    SUBCASE("ranks that end with a save have not finished, though another was asked for since") {
        rig.give(SaveWish{});
        for (int rank = 0; rank < 4; ++rank)
            rig.exit(rank, 0);
        rig.all_dead();
        CHECK(rig.machine.phase() == HeadPhase::choosing);
    }
    SUBCASE("another wish in the same generation asks again") {
        rig.pass(1s);
        rig.give(SaveWish{});
        rig.give(CheckpointPolled{checkpoint(107)});
        CHECK(rig.count<SendSave>() == 2);
        CHECK(rig.machine.save_awaited());
        SUBCASE("and where nothing is saved that is said, and training goes on") {
            rig.pass(config.save_time + 2s);
            CHECK(!rig.machine.save_awaited());
            CHECK(std::get<Note>(*std::find_if(rig.actions.begin(), rig.actions.end(), [](const auto &action) {
                      const auto *note = std::get_if<Note>(&action);
                      return note != nullptr && note->event == "save_missing";
                  })).text.find("no newer checkpoint 60 s after") == 0);
            SUBCASE("and ranks that end with it later have not finished") {
                for (int rank = 0; rank < 4; ++rank)
                    rig.exit(rank, 0);
                rig.all_dead();
                CHECK(rig.machine.phase() == HeadPhase::choosing);
                return;
            }
            rig.give(SaveWish{});
            rig.give(CheckpointPolled{checkpoint(107)});
            CHECK(rig.count<SendSave>() == 3);
        }
    }
    SUBCASE("ranks that end with the save before it was seen: the choice of a checkpoint shows it") {
        rig.give(SaveWish{});
        rig.give(CheckpointPolled{checkpoint(106)});
        rig.pass(3s);
        for (int rank = 0; rank < 4; ++rank)
            rig.exit(rank, 75);
        rig.all_dead();
        rig.give(CheckpointChosen{checkpoint(107), ""});
        CHECK(rig.machine.phase() == HeadPhase::training);
        CHECK(saves(rig) == 2);
    }
    Rig mute{in_place()};
    mute.train();
    mute.give(SaveWish{});
    CHECK(mute.count<SendSave>() == 0);
    CHECK(mute.count<Note>() == 1);
}

TEST_CASE("generations: ranks that broke after a save have not finished, whatever step they showed") {
    auto config = in_place();
    config.save_signal = "USR1";
    config.total_steps = 110;
    Rig rig{config};
    rig.train();
    rig.give(SaveWish{});
    rig.give(CheckpointPolled{checkpoint(100)});
    rig.give(ProgressSeen{110, {}, {}});
    for (int rank = 0; rank < 4; ++rank)
        rig.exit(rank, 0, 11);
    rig.all_dead();
    CHECK(!rig.outcome);
    CHECK(rig.machine.phase() == HeadPhase::choosing);
}
