#include "unit/recovery/reconcile_desk.h"

using namespace trainctl;
using namespace std::chrono_literals;

TEST_CASE("reconcile: a new run gets its first attempt, once") {
    Desk desk;
    const auto made = desk.look();
    CHECK(made.state == RunState::pending);
    CHECK(made.text == "attempt 1 is job 1");
    desk.slurm.advance(5s);
    CHECK(desk.look().state == RunState::running);
    CHECK(desk.slurm.counters.submits == 1);
}

TEST_CASE("reconcile: whoever only looks changes nothing") {
    Desk desk;
    desk.request.act = false;
    CHECK(desk.look().state == RunState::starting);
    CHECK(desk.slurm.counters.submits == 0);
    CHECK(!desk.files.read(desk.paths.attempt_file(AttemptNo{1}, "intent.json"))->has_value());
}

TEST_CASE("reconcile: a silent controller means that nothing is known and nothing is done") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.slurm.end(JobId{1}, "FAILED");
    desk.slurm.controller_down = true;
    const auto blind = desk.look();
    CHECK(blind.state == RunState::unknown);
    CHECK(blind.text.find("Unable to contact slurm controller") != std::string::npos);
    desk.slurm.controller_down = false;
    CHECK(desk.look().state == RunState::pending);
    CHECK(desk.slurm.counters.submits == 2);
}

TEST_CASE("reconcile: a refused first attempt says sbatch's words, and a later call makes it") {
    Desk desk;
    desk.slurm.next_submit = FakeSlurm::Fault::rejected;
    const auto refused = desk.look();
    CHECK(refused.state == RunState::starting);
    CHECK(refused.text.find(desk.slurm.rejection) != std::string::npos);
    CHECK(desk.look().state == RunState::pending);
}

TEST_CASE("reconcile: a lost answer of sbatch is found by name, not submitted again") {
    Desk desk;
    desk.slurm.next_submit = FakeSlurm::Fault::lost_answer;
    CHECK(desk.look().state == RunState::pending);
    CHECK(desk.slurm.counters.submits == 1);
}

TEST_CASE("reconcile: an attempt that ended badly gets a verdict and a successor") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    desk.slurm.end(JobId{1}, "TIMEOUT");
    CHECK(desk.look().text == "attempt 2 is job 2");
    const auto verdict = read_record_file<Verdict>(desk.files, desk.paths.attempt_file(AttemptNo{1}, "verdict.json"));
    CHECK(verdict->value().cause == cause::time_limit);
    CHECK(verdict->value().by == "desk");
}

TEST_CASE("reconcile: a prolog that fails does not end the run") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.slurm.end(JobId{1}, "CANCELLED"); // nobody claimed it, and it had nodes
    CHECK(desk.look().text == "attempt 2 is job 2");
    CHECK(!desk.ended());
}

TEST_CASE("reconcile: scancel by its user ends the run, of a job in the queue too") {
    for (const bool running : {false, true}) {
        CAPTURE(running);
        Desk desk;
        desk.look();
        if (running) {
            desk.slurm.advance(5s);
            desk.claim(1, 1);
        }
        REQUIRE(desk.slurm.cancel({JobId{1}}));
        desk.slurm.advance(20s); // accounting knows by whom
        CHECK(desk.look().state == RunState::stopped);
        CHECK(desk.ended()->kind == EndKind::stopped);
        CHECK(desk.slurm.counters.submits == 1);
    }
}

TEST_CASE("reconcile: a wish to stop cancels what waits, and then ends the run") {
    Desk desk;
    desk.look();
    REQUIRE(desk.files.write(desk.paths.wish("stop"), "{}"));
    CHECK(desk.look().state == RunState::pending);
    CHECK(live_jobs(desk.slurm, "tc-x-001") == 0);
    CHECK(desk.look().state == RunState::stopped);
    CHECK(desk.slurm.counters.submits == 1);
}

TEST_CASE("reconcile: a wish to stop before the first attempt makes none") {
    Desk desk;
    REQUIRE(desk.files.write(desk.paths.wish("stop"), "{}"));
    CHECK(desk.look().state == RunState::stopped);
    CHECK(desk.slurm.counters.submits == 0);
}

TEST_CASE("reconcile: after the end what still waits is cancelled") {
    Desk desk;
    desk.look();
    REQUIRE(write_record_file(desk.files, desk.paths.file("ended.json"), Ended{EndKind::finished, "done", AttemptNo{1}, 0}));
    CHECK(desk.look().state == RunState::finished);
    CHECK(live_jobs(desk.slurm, "tc-x-001") == 0);
}

TEST_CASE("reconcile: the first one decides how a run ended") {
    Desk desk;
    Actor one{desk.slurm, "one"}, two{desk.slurm, "two"};
    REQUIRE(end_run(one.world, desk.paths, Ended{EndKind::finished, "first", AttemptNo{1}, 0}));
    REQUIRE(end_run(two.world, desk.paths, Ended{EndKind::failed, "second", AttemptNo{1}, 0}));
    CHECK(desk.ended()->why == "first");
    REQUIRE(desk.files.make_dirs(desk.paths.attempt(AttemptNo{1})));
    Verdict verdict;
    verdict.cause = "first";
    REQUIRE(write_verdict(one.world, desk.paths, AttemptNo{1}, verdict));
    verdict.cause = "second";
    REQUIRE(write_verdict(two.world, desk.paths, AttemptNo{1}, verdict));
    CHECK(read_record_file<Verdict>(desk.files, desk.paths.attempt_file(AttemptNo{1}, "verdict.json"))->value().cause == "first");
}

TEST_CASE("reconcile: whoever ends a run removes its secrets, or whoever looks after one that died of it") {
    for_each_fault([](const FaultPlan &plan) {
        Desk desk;
        const auto secrets = desk.paths.file("secrets.json");
        REQUIRE(desk.files.write(secrets, "{}"));
        CHECK(desk.look().state == RunState::pending);
        CHECK(desk.files.read(secrets)->has_value());
        Actor first{desk.slurm, "first"};
        first.plan = plan;
        survives([&] { (void)end_run(first.world, desk.paths, Ended{EndKind::failed, "why", AttemptNo{1}, 0}).ok(); });
        const bool ended = desk.ended().has_value();
        desk.look();
        CHECK(desk.files.read(secrets)->has_value() == !ended);
        return first.plan;
    });
}

TEST_CASE("reconcile: a run that has ended has ended, whether Slurm answers or not") {
    Desk desk;
    desk.look();
    Actor actor{desk.slurm, "head"};
    REQUIRE(end_run(actor.world, desk.paths, Ended{EndKind::finished, "done", AttemptNo{1}, 0}));
    desk.slurm.controller_down = true;
    CHECK(desk.look().state == RunState::finished);
}

TEST_CASE("reconcile: a job that Slurm has forgotten is dead only when its head is silent for a lease") {
    FakeSlurm::Settings settings;
    settings.accounting = false;
    settings.min_job_age = 10s;
    for (const bool beats : {false, true}) {
        CAPTURE(beats);
        Desk desk{settings};
        desk.look();
        desk.slurm.advance(5s);
        desk.claim(1, 1);
        ProgressFile progress;
        progress.beat = 4;
        desk.put(AttemptNo{1}, "progress.json", progress);
        desk.slurm.end(JobId{1}, "NODE_FAIL");
        desk.slurm.advance(60s);
        if (!beats) {
            CHECK(desk.look().text == "attempt 2 is job 2");
            continue;
        }
        // A head that goes on beating while the reconciler waits.
        struct BeatingClock final : Clock {
            Desk &desk;
            SlurmClock clock{desk.slurm};
            explicit BeatingClock(Desk &of) : desk(of) {}
            Instant now() override { return clock.now(); }
            WallTime wall() override { return clock.wall(); }
            void sleep_for(Duration duration) override {
                clock.sleep_for(duration);
                ProgressFile later;
                later.beat = 9;
                desk.put(AttemptNo{1}, "progress.json", later);
            }
        } clock{desk};
        World world{desk.files, desk.slurm, clock, "desk"};
        const auto seen = reconcile(world, desk.paths, desk.request);
        REQUIRE(seen);
        CHECK(seen->state == RunState::running);
        CHECK(desk.slurm.counters.submits == 1);
    }
}

TEST_CASE("reconcile: a verdict that can't be read is judged again, and replaced") {
    Desk desk;
    desk.look();
    desk.slurm.advance(5s);
    desk.claim(1, 1);
    desk.slurm.end(JobId{1}, "TIMEOUT");
    desk.look();
    const auto path = desk.paths.attempt_file(AttemptNo{1}, "verdict.json");
    REQUIRE(desk.files.write(path, "{\"cause\": \"ti"));
    desk.slurm.advance(5s);
    desk.claim(2, 2);
    desk.slurm.end(JobId{2}, "TIMEOUT");
    CHECK(desk.look().text == "attempt 3 is job 3");
    CHECK(read_record_file<Verdict>(desk.files, path)->value().cause == cause::time_limit);
    CHECK(look_at_attempt(desk.files, desk.paths, AttemptNo{1})->problems.empty());
}

TEST_CASE("reconcile: whichever effect fails and however, the next one leaves exactly one live job") {
    for_each_fault([](const FaultPlan &plan) {
        Desk desk;
        desk.look();
        desk.slurm.advance(5s);
        desk.claim(1, 1);
        desk.slurm.end(JobId{1}, "NODE_FAIL");
        Actor first{desk.slurm, "first"};
        first.plan = plan;
        survives([&] { (void)reconcile(first.world, desk.paths, desk.request).ok(); });
        const auto state = desk.look().state;
        CHECK((state == RunState::pending || state == RunState::running));
        CHECK(live_jobs(desk.slurm, "tc-x-002") == 1);
        CHECK(live_jobs(desk.slurm, "tc-x-003") == 0);
        return first.plan;
    });
}

TEST_CASE("reconcile: only the last few attempts' jobs are asked about, the newest first") {
    RunView run;
    for (int no = 1; no <= 6; ++no) {
        run.attempts.emplace_back();
        run.attempts.back().no = AttemptNo{no};
    }
    CHECK(recent_job_names(run, RunId{"x"}) == std::vector<std::string>{"tc-x-006", "tc-x-005", "tc-x-004", "tc-x-003"});
}
