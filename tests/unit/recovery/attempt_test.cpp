// Whole lives of attempts and the reconciler beside them, on real files and the fake Slurm.
#include "recovery/attempt.h"

#include "recovery/reconcile.h"
#include "support/faults.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t uid = 1000;

Outcome outcome_of(OutcomeKind kind, std::optional<std::int64_t> checkpoint = {}) {
    Outcome outcome;
    outcome.kind = kind;
    outcome.text = to_string(kind);
    outcome.exit_code = kind == OutcomeKind::finished ? 0 : 1;
    outcome.checkpoint_step = checkpoint;
    return outcome;
}

// A run on the fake cluster: jobs are started by Slurm, and `head` plays the batch script.
struct Cluster {
    TempDir folder;
    FakeSlurm slurm;
    PosixFiles files;
    RunPaths paths = make_run_folders(files, folder.path());
    Recovery recovery;
    ProtocolLimits limits;
    std::string journal;

    Reconciled reconcile_now(bool act = true) {
        Actor desk{slurm, "desk"};
        auto result = reconcile(desk.world, paths, {recovery, limits, uid, act, plain_prepare(paths)});
        REQUIRE(result);
        return std::move(*result);
    }
    JobId job_of(int no) const {
        for (auto at = slurm.jobs().rbegin(); at != slurm.jobs().rend(); ++at)
            if (at->second.name == job_name(paths.run, AttemptNo{no}))
                return at->second.id;
        return {};
    }
    AttemptJob attempt_job(int no) {
        const auto &job = slurm.job(job_of(no));
        AttemptJob attempt{paths, {AttemptNo{no}, job.id, job.restarts, "n1"}, recovery, limits, "n1", true, uid, plain_prepare(paths),
                           [](std::function<void()> what) { what(); },
                           [this](const std::string &event, const std::string &text) { journal += event + " " + text + "\n"; }};
        return attempt;
    }
    // The batch script of attempt `no`, as far as the end of its job.
    int head(int no, const Train &train) {
        Actor actor{slurm, "job " + to_string(job_of(no))};
        const auto attempt = attempt_job(no);
        const JobId id = attempt.me.job;
        const int code = run_attempt(actor.world, attempt, train);
        if (slurm.job(id).phase == JobPhase::running)
            slurm.finish(id, code);
        slurm.advance(10s);
        return code;
    }
    int head(int no, const Outcome &outcome) {
        return head(no, [&](const TrainHooks &) { return outcome; });
    }
    std::optional<Ended> ended() { return *read_record_file<Ended>(files, paths.file("ended.json")); }
    Verdict verdict(int no) { return read_record_file<Verdict>(files, paths.attempt_file(AttemptNo{no}, "verdict.json"))->value(); }
    std::string state(int no) { return slurm.job(job_of(no)).state; }
    void submit() {
        CHECK(reconcile_now().state == RunState::pending);
        slurm.advance(5s);
        REQUIRE(state(1) == "RUNNING");
    }
};

} // namespace

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
