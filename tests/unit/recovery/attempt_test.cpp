// Whole lives of attempts and the reconciler beside them, on real files and the fake Slurm.
#include "unit/recovery/attempt_cluster.h"

using namespace trainctl;
using namespace std::chrono_literals;

TEST_CASE("attempt: a training that finishes ends the run, and its standby goes away") {
    Cluster c;
    c.submit();
    CHECK(c.head(1, [&](const TrainHooks &hooks) {
        CHECK(hooks.beat({}).value());
        CHECK(hooks.end_wish() == EndWish::none);
        CHECK(c.state(2) == "PENDING"); // made right after the claim
        return outcome_of(OutcomeKind::finished);
    }) == 0);
    CHECK(c.ended()->kind == EndKind::finished);
    CHECK(c.state(1) == "COMPLETED");
    CHECK(c.state(2) == "CANCELLED");
    CHECK(c.reconcile_now().state == RunState::finished);
    CHECK(c.slurm.counters.submits == 2);
}

TEST_CASE("attempt: a failure hands over to the standby, without anybody looking") {
    Cluster c;
    c.submit();
    CHECK(c.head(1, outcome_of(OutcomeKind::rank_failed, 10)) == 1);
    CHECK(c.state(1) == "FAILED");
    REQUIRE(c.state(2) == "RUNNING");
    CHECK(c.head(2, outcome_of(OutcomeKind::finished)) == 0);
    CHECK(c.verdict(1).cause == cause::rank_failed);
    CHECK(c.ended()->kind == EndKind::finished);
    CHECK(c.slurm.counters.submits == 3);
}

TEST_CASE("attempt: an exit code of 0 of a training that is not done never shows as COMPLETED") {
    Cluster c;
    c.submit();
    auto saved = outcome_of(OutcomeKind::time_limit, 10);
    saved.exit_code = 0;
    CHECK(c.head(1, saved) == exit_go_on);
    CHECK(c.state(1) == "FAILED");
    CHECK(c.state(2) == "RUNNING");
}

TEST_CASE("attempt: no newer checkpoint, three times in a row, ends the run for good") {
    Cluster c;
    c.submit();
    for (int no = 1; no <= 3; ++no) {
        REQUIRE(c.state(no) == "RUNNING");
        c.head(no, outcome_of(OutcomeKind::rank_failed));
    }
    REQUIRE(c.ended());
    CHECK(c.ended()->kind == EndKind::failed);
    CHECK(c.ended()->why.find("3 failures in a row") == 0);
    CHECK(c.state(4) == "CANCELLED");
    CHECK(c.reconcile_now().state == RunState::failed);
}

TEST_CASE("attempt: control/stop says whether the user wants a save; one that can't be read does") {
    for (const auto &[text, wish] : {std::pair{"{\"save\": false}", EndWish::cancel}, std::pair{"{\"save\": true}", EndWish::stop},
                                     std::pair{"{\"sa", EndWish::stop}}) {
        CAPTURE(text);
        Cluster c;
        c.submit();
        c.head(1, [&, text = std::string{text}, wish = wish](const TrainHooks &hooks) {
            REQUIRE(c.files.write(c.paths.wish("stop"), text));
            CHECK(hooks.end_wish() == wish);
            return outcome_of(OutcomeKind::stopped, 5);
        });
    }
}

TEST_CASE("attempt: a wish to stop ends the run after the training has saved") {
    Cluster c;
    c.submit();
    c.head(1, [&](const TrainHooks &hooks) {
        REQUIRE(c.files.write(c.paths.wish("stop"), "{}"));
        CHECK(hooks.end_wish() == EndWish::stop);
        return outcome_of(OutcomeKind::stopped, 5);
    });
    CHECK(c.ended()->kind == EndKind::stopped);
    CHECK(c.state(1) == "FAILED");
    CHECK(c.state(2) == "CANCELLED");
}

TEST_CASE("attempt: a head whose attempt was closed changes nothing any more") {
    Cluster c;
    c.submit();
    const int code = c.head(1, [&](const TrainHooks &hooks) {
        CHECK(hooks.beat({}).value());
        REQUIRE(c.files.publish(c.paths.attempt_file(AttemptNo{1}, "claim.1"), dump_json(to_json(Claim{JobId{}, 0, "n2", "job 9", 0}))));
        CHECK(!hooks.beat({}).value());
        return outcome_of(OutcomeKind::finished);
    });
    CHECK(code == exit_go_on);
    CHECK(!c.ended());
    CHECK(!*c.files.read(c.paths.attempt_file(AttemptNo{1}, "outcome.json")));
}

TEST_CASE("attempt: a standby that was refused is an event, and the next attempt is submitted at the end") {
    Cluster c;
    c.submit();
    c.slurm.next_submit = FakeSlurm::Fault::rejected;
    c.head(1, [&](const TrainHooks &) {
        CHECK(c.journal.find("standby_failed") != std::string::npos);
        CHECK(live_jobs(c.slurm, "tc-x-002") == 0);
        return outcome_of(OutcomeKind::rank_failed, 10);
    });
    REQUIRE(c.state(2) == "RUNNING");
    c.head(2, outcome_of(OutcomeKind::finished));
    CHECK(c.ended()->kind == EndKind::finished);
}

TEST_CASE("attempt: the standby leaves out the nodes that are suspected at the end") {
    Cluster c;
    c.submit();
    auto lost = outcome_of(OutcomeKind::node_lost, 10);
    lost.suspect_nodes = {"n1"};
    c.head(1, lost);
    CHECK(c.slurm.job(c.job_of(2)).excluded == std::set<std::string>{"n1"});
    CHECK(!c.slurm.job(c.job_of(2)).allocated.contains("n1"));
}

TEST_CASE("attempt: the user's scancel of the running job stops the run, by the standby that it started") {
    Cluster c;
    c.submit();
    c.head(1, [&](const TrainHooks &) {
        REQUIRE(c.slurm.cancel({c.job_of(1)}));
        return outcome_of(OutcomeKind::terminated, 10);
    });
    REQUIRE(c.state(2) == "RUNNING");
    CHECK(c.head(2, [](const TrainHooks &) -> Outcome { FAIL("trained after a scancel"); return {}; }) != 0);
    CHECK(c.verdict(1).cause == cause::cancelled_by_user);
    CHECK(c.ended()->kind == EndKind::stopped);
    CHECK(live_jobs(c.slurm, "tc-x-003") == 0);
}

TEST_CASE("attempt: an administrator's scancel of the running job is no wish to stop, though accounting says so late") {
    FakeSlurm::Settings settings;
    settings.uid = 0; // whose cancels they are
    settings.accounting_lag = 15s;
    Cluster c{settings};
    c.submit();
    c.head(1, [&](const TrainHooks &) {
        REQUIRE(c.slurm.cancel({c.job_of(1)}));
        return outcome_of(OutcomeKind::terminated, 10);
    });
    CHECK(c.head(2, outcome_of(OutcomeKind::finished)) == 0);
    CHECK(c.verdict(1).cause == cause::cancelled_by_other);
    CHECK(c.ended()->kind == EndKind::finished);
}

TEST_CASE("attempt: a job without a standby that is told to end leaves a successor that waits for its end") {
    for (const bool stop : {false, true}) {
        CAPTURE(stop);
        Cluster c;
        c.submit();
        auto attempt = c.attempt_job(1);
        attempt.standby = false;
        Actor actor{c.slurm, "job 1"};
        c.head(actor.world, attempt, [&](const TrainHooks &) {
            if (stop)
                REQUIRE(c.files.write(c.paths.wish("stop"), "{}"));
            return outcome_of(OutcomeKind::terminated, 10);
        });
        CHECK(c.job_of(2).value == (stop ? 0 : 2));
        if (stop)
            continue;
        REQUIRE(c.state(2) == "RUNNING"); // afternotok of job 1, which ended badly
        CHECK(c.head(2, outcome_of(OutcomeKind::finished)) == 0);
        CHECK(c.ended()->kind == EndKind::finished);
    }
}

TEST_CASE("attempt: the claimant writes down Slurm's submit time of its job") {
    Cluster c;
    const auto submitted = unix_seconds(c.slurm.now());
    c.submit();
    c.slurm.advance(30s);
    c.head(1, [&](const TrainHooks &) {
        const auto view = look_at_attempt(c.files, c.paths, AttemptNo{1});
        CHECK(view->job->submitted == submitted);
        CHECK(view->job->nodes == "n1");
        return outcome_of(OutcomeKind::finished);
    });
}

TEST_CASE("attempt: a head that was killed leaves no outcome; the standby waits for its lease and goes on") {
    Cluster c;
    c.submit();
    try {
        c.head(1, [](const TrainHooks &) -> Outcome { throw Died{}; });
        FAIL("it lived on");
    } catch (const Died &) {
    }
    c.slurm.end(c.job_of(1), "NODE_FAIL");
    c.slurm.advance(5s);
    const auto before = c.slurm.now();
    c.head(2, [&](const TrainHooks &) {
        CHECK(c.slurm.now() - before >= c.limits.lease);
        return outcome_of(OutcomeKind::finished);
    });
    CHECK(c.verdict(1).cause == cause::node_lost);
    CHECK(c.verdict(1).exclude_nodes == std::vector<std::string>{"n1"}); // the head's
    CHECK(c.ended()->kind == EndKind::finished);
}

TEST_CASE("attempt: a job that was requeued after its outcome has ranks that a successor waits for") {
    Cluster c;
    c.submit();
    c.head(1, [&](const TrainHooks &) {
        c.slurm.requeue(c.job_of(1));
        return outcome_of(OutcomeKind::rank_failed, 10); // its ranks are dead
    });
    c.slurm.advance(130s);
    REQUIRE(c.state(1) == "RUNNING");
    try {
        c.head(1, [](const TrainHooks &) -> Outcome { throw Died{}; }); // trains again, and is cut off
    } catch (const Died &) {
    }
    c.slurm.end(c.job_of(1), "NODE_FAIL");
    c.slurm.advance(5s);
    const auto before = c.slurm.now();
    REQUIRE(c.state(2) == "RUNNING");
    c.head(2, [&](const TrainHooks &) {
        CHECK(c.slurm.now() - before >= c.limits.lease);
        return outcome_of(OutcomeKind::finished);
    });
}

TEST_CASE("attempt: a job that is not needed cancels itself, and that is no wish to stop the run") {
    Cluster c;
    c.submit();
    c.head(1, [&](const TrainHooks &) {
        // Somebody submitted the next attempt although this one lives.
        REQUIRE(c.slurm.cancel({c.job_of(2)}));
        Actor desk{c.slurm, "desk"};
        REQUIRE(make_attempt(desk.world, c.paths, {AttemptNo{3}, std::nullopt, {}, plain_prepare(c.paths)}, c.limits));
        c.slurm.advance(5s);
        REQUIRE(c.state(3) == "RUNNING");
        CHECK(c.head(3, [](const TrainHooks &) -> Outcome { FAIL("two sets of ranks"); return {}; }) == exit_left);
        CHECK(c.state(3) == "CANCELLED");
        return outcome_of(OutcomeKind::rank_failed, 10);
    });
    CHECK(live_jobs(c.slurm, "tc-x-004") == 1); // made by the head itself, at its end
    c.slurm.advance(20s);
    c.reconcile_now();
    CHECK(!c.ended());
    CHECK(live_jobs(c.slurm, "tc-x-004") == 1);
}

TEST_CASE("attempt: a standby that somebody cancelled is replaced at the end") {
    for (const bool head_dies : {false, true}) {
        CAPTURE(head_dies);
        Cluster c;
        c.submit();
        try {
            c.head(1, [&](const TrainHooks &) -> Outcome {
                REQUIRE(c.slurm.cancel({c.job_of(2)}));
                if (head_dies)
                    throw Died{};
                return outcome_of(OutcomeKind::rank_failed, 10);
            });
        } catch (const Died &) {
            c.slurm.end(c.job_of(1), "FAILED");
        }
        c.slurm.advance(20s);
        c.reconcile_now();
        CHECK(!c.ended());
        CHECK(live_jobs(c.slurm, "tc-x-003") == 1);
    }
}

TEST_CASE("attempt: whichever effect of a whole life fails and however, the run finishes once") {
    for (const auto mode : fault_modes) {
        bool met = true;
        for (int effect = 0; met; ++effect) {
            REQUIRE(effect < 100);
            CAPTURE(static_cast<int>(mode));
            CAPTURE(effect);
            Cluster c;
            c.submit();
            Actor actor{c.slurm, "first head"};
            actor.plan = {effect, mode};
            const auto attempt = c.attempt_job(1);
            int code = 137;
            try {
                code = run_attempt(actor.world, attempt, [](const TrainHooks &) { return outcome_of(OutcomeKind::finished); });
            } catch (const Died &) {
            }
            met = actor.plan.met();
            if (c.slurm.job(attempt.me.job).phase == JobPhase::running)
                c.slurm.finish(attempt.me.job, code);
            c.slurm.advance(10s);
            for (int round = 0; round < 10; ++round) { // the standby, or else somebody who looks after the run
                c.reconcile_now();
                c.slurm.advance(10s);
                for (int no = 1; no < 10; ++no)
                    if (c.job_of(no).value != 0 && c.state(no) == "RUNNING")
                        c.head(no, outcome_of(OutcomeKind::finished));
            }
            REQUIRE(c.ended());
            CHECK(c.ended()->kind == EndKind::finished);
            for (const auto &[id, job] : c.slurm.jobs())
                CHECK(job.phase == JobPhase::ended);
        }
    }
}
