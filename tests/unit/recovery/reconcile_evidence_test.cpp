// What the reconciler takes for the end of an attempt, and what it waits for.
#include "unit/recovery/reconcile_desk.h"

using namespace trainctl;
using namespace std::chrono_literals;

TEST_CASE("reconcile: an empty answer is no evidence against an attempt whose head beats, be its standby the last one") {
    for (const bool beats : {false, true}) {
        CAPTURE(beats);
        Desk desk;
        desk.look();
        desk.slurm.advance(5s);
        desk.claim(1, 1);
        Actor head{desk.slurm, "job 1"};
        REQUIRE(make_attempt(head.world, desk.paths, MakeRequest{AttemptNo{2}, JobId{1}, {}, plain_prepare(desk.paths)}, {}));
        std::uint64_t beat = 1;
        desk.beat(1, beat);
        const auto seen = desk.look_through([&](Scheduler::Found &found) { // another cluster's Slurm, or one that lost its state
            found.jobs.clear();
            desk.beat(1, beats ? ++beat : beat);
        });
        CHECK((seen.state == RunState::running) == beats);
        CHECK(desk.slurm.counters.submits == (beats ? 2 : 3));
        CHECK(desk.verdict(1).has_value() != beats);
        CHECK(!desk.ended());
    }
}

TEST_CASE("reconcile: a job in a state of an unknown word is neither pending nor gone; it is unknown, and since when") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    desk.beat(1, 7);
    const auto seen = desk.look_through([](Scheduler::Found &found) {
        found.jobs.at(0).phase = JobPhase::unknown;
        found.jobs.at(0).state = "PONDERING";
    });
    CHECK(seen.state == RunState::unknown);
    CHECK(seen.text.find("PONDERING") != std::string::npos);
    CHECK(seen.unknown_since == seen.run.attempts.at(0).last_known());
    CHECK(seen.unknown_since >= 1007);
    CHECK(desk.slurm.counters.submits == 1);
    CHECK(!desk.look().unknown_since); // it runs
}

TEST_CASE("reconcile: whoever only looks at a run whose job is not listed says that nothing is known") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    desk.request.act = false;
    const auto seen = desk.look_through([](Scheduler::Found &found) { found.jobs.clear(); });
    CHECK(seen.state == RunState::unknown);
    CHECK(seen.unknown_since.has_value());
}

TEST_CASE("reconcile: who cancelled a job is waited for, and an administrator's cancel is no wish to stop") {
    for (const std::uint32_t uid : {0u, 1000u}) {
        CAPTURE(uid);
        Desk desk;
        desk.look();
        desk.slurm.advance(5s);
        desk.claim(1, 1);
        desk.slurm.end(JobId{1}, "CANCELLED");
        const auto ended = desk.slurm.now();
        const auto seen = desk.look_through([&](Scheduler::Found &found) {
            if (desk.slurm.now() - ended >= 8s) // accounting is behind
                found.jobs.at(0).cancelled_by = uid;
        });
        CHECK(desk.verdict(1)->cause == (uid == 0 ? cause::cancelled_by_other : cause::cancelled_by_user));
        CHECK(desk.ended().has_value() == (uid == 1000));
        CHECK(seen.state == (uid == 0 ? RunState::pending : RunState::stopped));
    }
}

TEST_CASE("reconcile: without accounting nobody waits for who cancelled a job") {
    FakeSlurm::Settings settings;
    settings.accounting = false;
    Desk desk{settings};
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    desk.slurm.end(JobId{1}, "CANCELLED");
    const auto before = desk.slurm.now();
    CHECK(desk.look().state == RunState::stopped);
    CHECK(desk.slurm.now() - before == desk.request.limits.lease + desk.request.limits.margin); // for its ranks
}

TEST_CASE("reconcile: behind a run's end no ranks live: an attempt whose head left no word is closed first, and has a lease") {
    for (const bool told : {false, true}) {
        CAPTURE(told);
        Desk desk;
        desk.look();
        desk.slurm.advance(5s);
        desk.claim(1, 1);
        if (told) { // its head's word that they are dead
            Outcome outcome;
            outcome.kind = OutcomeKind::terminated;
            outcome.job = JobId{1};
            REQUIRE(write_record_file(desk.files, desk.paths.attempt_file(AttemptNo{1}, "outcome.json"), outcome));
        }
        REQUIRE(desk.slurm.cancel({JobId{1}}));
        desk.slurm.advance(10s);
        const auto before = desk.slurm.now();
        CHECK(desk.look().state == RunState::stopped);
        CHECK(desk.ended());
        CHECK(read_claims(desk.files, desk.paths, AttemptNo{1}).value().back().is_seal() == !told);
        CHECK((desk.slurm.now() - before >= desk.request.limits.lease) == !told);
    }
}

TEST_CASE("reconcile: before a refused standby is made again, the attempt before it is judged and the run's history decides") {
    struct Row { const char *name; std::function<void(Desk &)> end; RunState state; };
    for (const auto &[name, end, state] : {
             Row{"its user cancelled it", [](Desk &desk) { REQUIRE(desk.slurm.cancel({JobId{1}})); }, RunState::stopped},
             Row{"too many failures", [](Desk &desk) { desk.request.recovery.no_progress_max = 1; desk.slurm.finish(JobId{1}, 1); }, RunState::failed},
             Row{"a time limit", [](Desk &desk) { desk.slurm.end(JobId{1}, "TIMEOUT"); }, RunState::pending},
         }) {
        CAPTURE(name);
        Desk desk;
        desk.look();
        desk.slurm.advance(5s);
        desk.claim(1, 1);
        Outcome outcome;
        outcome.kind = OutcomeKind::terminated;
        outcome.job = JobId{1};
        outcome.suspect_nodes = {"n3"};
        desk.put(AttemptNo{1}, "outcome.json", outcome);
        desk.slurm.next_submit = FakeSlurm::Fault::rejected; // MaxSubmitJobs
        Actor head{desk.slurm, "job 1"};
        REQUIRE(make_attempt(head.world, desk.paths, MakeRequest{AttemptNo{2}, JobId{1}, {}, plain_prepare(desk.paths)}, {}));
        end(desk);
        desk.slurm.advance(20s);
        CHECK(desk.look().state == state);
        CHECK(desk.verdict(1).has_value());
        CHECK(live_jobs(desk.slurm, "tc-x-002") == (state == RunState::pending ? 1 : 0));
        CHECK(live_jobs(desk.slurm, "tc-x-003") == 0);
        if (state == RunState::pending)
            CHECK(desk.slurm.jobs().rbegin()->second.excluded == std::set<std::string>{"n3"});
    }
}

TEST_CASE("reconcile: a namesake's end is not the end of the job that claimed the attempt") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 9); // job 9 trains as attempt 1 somewhere; job 1 is a namesake that ended
    desk.slurm.finish(JobId{1}, 1);
    std::uint64_t beat = 0;
    CHECK(desk.look_through([&](Scheduler::Found &) { desk.beat(1, ++beat); }).state == RunState::running);
    CHECK(desk.slurm.counters.submits == 1);
}

TEST_CASE("reconcile: a user's scancel is honoured by whoever looks while the standby waits and Slurm remembers") {
    FakeSlurm::Settings settings;
    settings.accounting = false;
    settings.nodes = 1;
    Desk desk{settings};
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    Actor head{desk.slurm, "job 1"};
    REQUIRE(make_attempt(head.world, desk.paths, MakeRequest{AttemptNo{2}, JobId{1}, {}, plain_prepare(desk.paths)}, {}));
    Outcome outcome;
    outcome.kind = OutcomeKind::terminated;
    outcome.job = JobId{1};
    desk.put(AttemptNo{1}, "outcome.json", outcome);
    desk.slurm.fail_node("n1", false); // so that the standby waits
    REQUIRE(desk.slurm.cancel({JobId{1}}));
    CHECK(desk.look().state == RunState::stopped);
    CHECK(live_jobs(desk.slurm, "tc-x-002") == 0);
    CHECK(desk.verdict(1)->cause == cause::cancelled_by_user);
    CHECK(desk.ended()->kind == EndKind::stopped);
    CHECK(desk.slurm.counters.submits == 2);
}

TEST_CASE("reconcile: a suspicion ends no run: where nothing is left without the suspects, they are asked for again") {
    FakeSlurm::Settings settings;
    settings.nodes = 1;
    Desk desk{settings};
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    Outcome outcome;
    outcome.kind = OutcomeKind::node_lost;
    outcome.job = JobId{1};
    outcome.suspect_nodes = {"n1"};
    desk.put(AttemptNo{1}, "outcome.json", outcome);
    desk.slurm.finish(JobId{1}, 1);
    desk.slurm.advance(20s);
    CHECK(desk.look().state == RunState::pending);
    CHECK(desk.slurm.counters.submits == 3); // the second was refused
    CHECK(desk.slurm.jobs().rbegin()->second.excluded.empty());
}
