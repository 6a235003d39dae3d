#include "head_rig.h"

using namespace trainctl;

TEST_CASE("head: setup on all nodes, then generation 1, then finished once the ranks' trees are dead") {
    Rig rig;
    rig.give(NodeConnected{"n2"});
    CHECK(rig.count<StartSetup>() == 0);
    rig.give(NodeConnected{"n1"});
    rig.give(NodeConnected{"n1"});
    REQUIRE(rig.count<StartSetup>() == 1);
    rig.give(SetupDone{"n1", true, ""});
    rig.give(SetupDone{"n1", true, ""});
    CHECK(rig.count<StartGeneration>() == 0);
    rig.give(SetupDone{"n2", true, ""});
    REQUIRE(rig.count<StartGeneration>() == 1);
    const auto &start = *std::find_if(rig.actions.begin(), rig.actions.end(), [](const auto &a) { return std::holds_alternative<StartGeneration>(a); });
    CHECK(std::get<StartGeneration>(start).generation == 1);
    CHECK(std::get<StartGeneration>(start).nodes == std::vector<std::string>{"n1", "n2"}); // by the plan's order
    rig.pass(100s);
    for (int rank : {0, 1, 2, 2, 3})
        rig.exit(rank, 0);
    CHECK(rig.count<KillRanks>() == 1); // what they left behind
    CHECK(!rig.outcome);
    rig.die("n1");
    CHECK(!rig.outcome);
    rig.die("n2");
    CHECK(rig.kind() == OutcomeKind::finished);
    CHECK(rig.outcome->exit_code == 0);
    CHECK(rig.outcome->ranks_dead);
    CHECK(rig.outcome->training_s == 100);
    CHECK(!rig.machine.wake_at());
}

TEST_CASE("head: nodes that never come are named") {
    Rig rig;
    rig.silent = {"n2"};
    rig.give(NodeConnected{"n1"});
    rig.pass(301s);
    CHECK(rig.kind() == OutcomeKind::setup_failed);
    CHECK(rig.outcome->text.find("n2") != std::string::npos);
    CHECK(rig.outcome->suspect_nodes == std::vector<std::string>{"n2"});
    CHECK(rig.outcome->ranks_dead);
}

TEST_CASE("head: a spare steps in for a node that does not come in time") {
    auto config = Rig::standard();
    config.nodes = {"n1", "n2", "n3"};
    Rig rig{config};
    rig.silent = {"n2"};
    rig.give(NodeConnected{"n1"});
    rig.give(NodeConnected{"n3"});
    CHECK(rig.count<StartSetup>() == 0);
    rig.pass(31s);
    REQUIRE(rig.count<StartSetup>() == 1);
    CHECK(rig.machine.members() == std::vector<std::string>{"n1", "n3"});
}

TEST_CASE("head: a failing setup ends the attempt with its words") {
    Rig rig;
    rig.give(NodeConnected{"n1"});
    rig.give(NodeConnected{"n2"});
    rig.give(SetupDone{"n2", false, "conda: command not found"});
    CHECK(rig.kind() == OutcomeKind::setup_failed);
    CHECK(rig.outcome->text == "setup failed on n2: conda: command not found");
}

TEST_CASE("head: the first rank to fail is the first, the rest is killed at once") {
    Rig rig;
    rig.train();
    rig.exit(2, 1, 0, 7.0);
    CHECK(rig.count<KillRanks>() == 1);
    rig.exit(1, 3, 0, 6.5); // died earlier, heard of later
    RankExit killed; // by its guard, on a node that had started later: earlier by its own count
    killed.rank = 0;
    killed.node = "n1";
    killed.signal = 9;
    killed.at_s = 6.4;
    killed.killed = true;
    rig.give(RankExited{1, killed});
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::rank_failed);
    CHECK(rig.outcome->first->rank == 1);
    CHECK(rig.outcome->exit_code == 3);
    CHECK(rig.outcome->text == "rank 1 on n1 exited with code 3");
}

TEST_CASE("head: code 93 asks not to be started again") {
    Rig rig;
    rig.train();
    rig.exit(0, 93);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::do_not_restart);
    CHECK(rig.outcome->exit_code == 93);
}

TEST_CASE("head: nodes that can't confirm are waited for a bounded time, and said") {
    for (const bool doubtful : {false, true}) {
        CAPTURE(doubtful);
        Rig rig;
        rig.train();
        rig.exit(0, 1);
        rig.die("n1");
        if (doubtful)
            rig.die("n2", false);
        else
            rig.pass(12s);
        CHECK(rig.kind() == OutcomeKind::rank_failed);
        CHECK(!rig.outcome->ranks_dead);
        CHECK(rig.outcome->suspect_nodes.size() == (doubtful ? 1u : 0u));
    }
}

TEST_CASE("head: TERM, and ranks that die of it, in every order") {
    enum What { head_term, agent_term, rank_term, rank_error };
    struct Row {
        std::vector<What> order;
        OutcomeKind kind;
    };
    const Row rows[] = {
        {{head_term, rank_term}, OutcomeKind::terminated},
        {{rank_term, head_term}, OutcomeKind::terminated},
        {{rank_term, agent_term}, OutcomeKind::terminated},
        {{agent_term, rank_term}, OutcomeKind::terminated},
        {{rank_term, rank_error, head_term}, OutcomeKind::terminated},
        {{rank_error, head_term}, OutcomeKind::terminated},
        {{agent_term, rank_error}, OutcomeKind::rank_failed},
        {{rank_term}, OutcomeKind::rank_failed},
        {{rank_term, rank_error}, OutcomeKind::rank_failed},
        {{head_term, head_term, agent_term}, OutcomeKind::terminated},
    };
    for (const auto &row : rows) {
        CAPTURE(&row - rows);
        Rig rig;
        rig.train();
        int rank = 0;
        for (const What what : row.order) {
            switch (what) {
            case head_term: rig.give(TermSignal{}); break;
            case agent_term: rig.give(NodeTerm{"n2"}); break;
            case rank_term: rig.exit(rank++, 0, 15); break;
            case rank_error: rig.exit(rank++, 1); break;
            }
            rig.pass(500ms);
        }
        rig.pass(30s);
        rig.all_dead();
        CHECK(rig.kind() == row.kind);
        CHECK(rig.count<StartGeneration>() == 0);
    }
}

TEST_CASE("head: a rank that dies of SIGTERM is no verdict for two seconds") {
    Rig rig;
    rig.train();
    rig.exit(1, 143);
    rig.pass(1900ms);
    CHECK(rig.machine.phase() == HeadPhase::training);
    CHECK(rig.count<KillRanks>() == 0);
    rig.pass(200ms);
    CHECK(rig.count<KillRanks>() == 1);
}

TEST_CASE("head: ranks that end with 0 because they were told to have not finished") {
    Rig rig;
    rig.train();
    rig.give(NodeTerm{"n1"});
    for (int rank = 0; rank < 4; ++rank)
        rig.exit(rank, 0);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::terminated);
    CHECK(rig.outcome->exit_code != 0);
}

TEST_CASE("head: the early signal asks for a save after looking what is complete already") {
    Rig rig{Rig::saving()};
    rig.train();
    rig.give(EarlySignal{});
    CHECK(rig.machine.phase() == HeadPhase::saving);
    CHECK(rig.count<PollCheckpoint>() == 1);
    CHECK(rig.count<SendSave>() == 0);
    rig.give(CheckpointPolled{checkpoint(100)});
    CHECK(rig.count<SendSave>() == 1);
    rig.give(EarlySignal{}); // Slurm sends it more than once
    rig.give(CheckpointPolled{checkpoint(100)});
    CHECK(rig.count<SendSave>() == 1);
    CHECK(rig.count<KillRanks>() == 0);
    SUBCASE("a newer complete checkpoint is the save") {
        rig.give(CheckpointPolled{checkpoint(104)});
        CHECK(rig.count<KillRanks>() == 1);
        rig.all_dead();
        CHECK(rig.kind() == OutcomeKind::time_limit);
        CHECK(rig.outcome->checkpoint_step == 104);
    }
    SUBCASE("ranks that end by themselves saved or could not") {
        for (int rank = 0; rank < 4; ++rank)
            rig.exit(rank, rank == 3 ? 1 : 0);
        rig.all_dead();
        CHECK(rig.kind() == OutcomeKind::time_limit);
    }
    SUBCASE("ranks that do nothing are killed") {
        rig.pass(62s);
        CHECK(rig.count<KillRanks>() == 1);
        rig.all_dead();
        CHECK(rig.kind() == OutcomeKind::time_limit);
        CHECK(rig.outcome->text.find("did not end in time") != std::string::npos);
    }
    SUBCASE("TERM on top of it") {
        rig.give(TermSignal{});
        rig.pass(21s);
        rig.all_dead();
        CHECK(rig.kind() == OutcomeKind::terminated);
        CHECK(rig.outcome->signals.size() == 3);
    }
    SUBCASE("93 still counts") {
        rig.exit(0, 93);
        for (int rank = 1; rank < 4; ++rank)
            rig.exit(rank, 0);
        rig.all_dead();
        CHECK(rig.kind() == OutcomeKind::do_not_restart);
    }
}

TEST_CASE("head: a clock that is minutes ahead takes nothing of the time to save: the early signal says what is left") {
    auto config = Rig::saving();
    config.early_signal = 120s;
    Rig probe{config};
    config.limit = probe.now + 5s; // by the node's clock
    Rig rig{config};
    rig.train();
    rig.give(EarlySignal{});
    rig.give(CheckpointPolled{checkpoint(100)});
    rig.pass(60s);
    CHECK(rig.count<KillRanks>() == 0); // it is still saving
    rig.give(CheckpointPolled{checkpoint(104)});
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::time_limit);
    CHECK(rig.outcome->checkpoint_step == 104);
}

TEST_CASE("head: a file system that does not answer delays a save by a second only") {
    Rig rig{Rig::saving()};
    rig.train();
    rig.give(EarlySignal{});
    rig.pass(1s);
    CHECK(rig.count<SendSave>() == 1);
}

TEST_CASE("head: a training that can't save goes on until TERM") {
    Rig rig;
    rig.train();
    rig.give(EarlySignal{});
    rig.pass(30s);
    CHECK(rig.machine.phase() == HeadPhase::training);
    rig.give(TermSignal{});
    rig.pass(6s);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::terminated);
}

TEST_CASE("head: the last step counts as finished whoever asked for an end") {
    auto config = Rig::saving();
    config.total_steps = 500;
    Rig rig{config};
    rig.train();
    rig.give(EarlySignal{});
    rig.give(ProgressSeen{500, 1.5, {}});
    for (int rank = 0; rank < 4; ++rank)
        rig.exit(rank, 0);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::finished);
}

TEST_CASE("head: no beat for a lease, or another attempt, kills the ranks") {
    Rig rig;
    rig.train();
    rig.beats_work = false;
    rig.pass(25s);
    rig.give(BeatFailed{"Stale file handle"});
    CHECK(rig.count<KillRanks>() == 0);
    rig.pass(6s);
    CHECK(rig.count<KillRanks>() == 1);
    rig.all_dead();
    CHECK(rig.kind() == OutcomeKind::lease_lost);
    CHECK(rig.outcome->text.find("Stale file handle") != std::string::npos);

    Rig other;
    other.train();
    other.give(Superseded{});
    CHECK(other.count<KillRanks>() == 1);
    other.all_dead();
    CHECK(other.kind() == OutcomeKind::lease_lost);
}

TEST_CASE("head: a lease that is over wakes nobody again and again while the ranks are being killed") {
    Rig rig;
    rig.train();
    rig.beats_work = false;
    rig.pass(31s);
    REQUIRE(rig.machine.phase() == HeadPhase::killing);
    rig.give(Tick{});
    CHECK(*rig.machine.wake_at() > rig.now);
}

TEST_CASE("head: a beat is written every heartbeat, one at a time") {
    Rig rig;
    rig.train();
    rig.pass(50s);
    CHECK(rig.count<WriteBeat>() >= 9);
    CHECK(rig.count<WriteBeat>() <= 11);
    rig.beats_work = false;
    rig.actions.clear();
    rig.pass(20s);
    CHECK(rig.count<WriteBeat>() == 1);
}

TEST_CASE("head: a broken connection kills nothing when the agent comes back, silence does") {
    Rig rig;
    rig.train();
    rig.give(NodeClosed{"n2"});
    rig.silent = {"n2"};
    rig.pass(4s);
    rig.give(NodeConnected{"n2"});
    rig.silent = {};
    rig.pass(20s);
    CHECK(rig.machine.phase() == HeadPhase::training);
    rig.silent = {"n2"};
    rig.pass(9s);
    CHECK(rig.machine.phase() == HeadPhase::training);
    rig.pass(1s);
    CHECK(rig.machine.phase() == HeadPhase::killing);
    rig.die("n1");
    CHECK(!rig.outcome); // its ranks may live until its lease is over, and SIGKILL has done its work
    rig.pass(500ms);
    CHECK(rig.kind() == OutcomeKind::node_lost);
    CHECK(rig.outcome->suspect_nodes == std::vector<std::string>{"n2"});
    CHECK(rig.outcome->ranks_dead);

    Rig gone;
    gone.train();
    gone.give(NodeClosed{"n1"});
    gone.silent = {"n1"};
    gone.pass(6s);
    gone.die("n2");
    CHECK(!gone.outcome);
    gone.pass(5s);
    CHECK(gone.kind() == OutcomeKind::node_lost);
}

TEST_CASE("head: an srun of agents that ends kills nobody whose agent lives, and is told where nobody came") {
    Rig rig;
    rig.train();
    rig.give(StepEnded{"srun: error: Node failure on n2"});
    CHECK(rig.machine.phase() == HeadPhase::training);
    Rig early;
    early.give(StepEnded{"srun: error: Unable to create step"});
    CHECK(early.kind() == OutcomeKind::setup_failed);
    // The controller may be back in a moment, and another job would wait in the queue.
    Rig again;
    again.give(StepEnded{"srun: error: Unable to confirm allocation for job 2: Unable to contact slurm controller (connect failure)"});
    CHECK(again.count<StartAgents>() == 0);
    again.silent = {"n1", "n2"};
    again.pass(6s);
    CHECK(again.count<StartAgents>() == 1);
    CHECK(again.machine.phase() == HeadPhase::starting);
    again.silent.clear();
    again.train();
}

TEST_CASE("head: a suspended job finds every deadline where it was") {
    Rig rig{Rig::saving()};
    rig.train();
    rig.give(EarlySignal{});
    rig.give(CheckpointPolled{});
    rig.pass(10s);
    rig.now += 3600s;
    rig.give(Tick{});
    CHECK(rig.machine.phase() == HeadPhase::saving);
    CHECK(rig.machine.lease().held(rig.now));
    rig.pass(45s);
    CHECK(rig.machine.phase() == HeadPhase::saving);
    rig.pass(10s);
    CHECK(rig.machine.phase() == HeadPhase::killing);
}

TEST_CASE("head: exits of another generation and of strangers change nothing") {
    Rig rig;
    rig.train();
    RankExit exit;
    exit.exit_code = 1;
    rig.give(RankExited{7, exit});
    rig.give(NodeConnected{"stranger"});
    rig.give(NodeRanksDead{"stranger", 1, true});
    rig.give(SetupDone{"stranger", false, "x"});
    CHECK(rig.machine.phase() == HeadPhase::training);
}

