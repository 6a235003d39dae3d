#include "support/faults.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const AttemptNo one{1}, two{2};

Result<MadeAttempt> make(Actor &actor, const RunPaths &paths, AttemptNo no, std::optional<JobId> after = {}) {
    return make_attempt(actor.world, paths, MakeRequest{no, after, {}, plain_prepare(paths)}, ProtocolLimits{});
}

// Runs `what` as a process that may die; false when it did.
template <class What> bool survives(What what) {
    try {
        what();
        return true;
    } catch (const Died &) {
        return false;
    }
}

int seals_of(Files &files, const RunPaths &paths, AttemptNo no) {
    const auto claims = read_claims(files, paths, no);
    REQUIRE(claims);
    int count = 0;
    for (const auto &claim : *claims)
        count += claim.is_seal() ? 1 : 0;
    return count;
}

} // namespace

TEST_CASE("making an attempt: whichever effect fails and however, the next process leaves exactly one live job") {
    for (const auto mode : fault_modes) {
        bool met = true;
        for (int effect = 0; met; ++effect) {
            REQUIRE(effect < 50);
            CAPTURE(static_cast<int>(mode));
            CAPTURE(effect);
            TempDir folder;
            PosixFiles files;
            const auto paths = make_run_folders(files, folder.path());
            FakeSlurm slurm;
            Actor first{slurm, "first"}, second{slurm, "second"};
            first.plan = {effect, mode};
            survives([&] { (void)make(first, paths, one).ok(); });
            met = first.plan.met();
            const auto made = make(second, paths, one);
            REQUIRE(made);
            CHECK(made->kind == MadeKind::live);
            REQUIRE(made->job);
            CHECK(live_jobs(slurm, "tc-x-001") == 1);
            CHECK(slurm.job(*made->job).phase != JobPhase::ended);
        }
    }
}

TEST_CASE("making an attempt: one that was made is adopted, and sbatch is not called again") {
    TempDir folder;
    PosixFiles files;
    const auto paths = make_run_folders(files, folder.path());
    FakeSlurm slurm;
    Actor first{slurm, "first"}, second{slurm, "second"};
    const auto made = make(first, paths, one), again = make(second, paths, one);
    REQUIRE(made);
    REQUIRE(again);
    CHECK(made->job == again->job);
    CHECK(slurm.counters.submits == 1);
}

TEST_CASE("making an attempt: the intent is on disk before sbatch is called") {
    for (int effect = 0;; ++effect) {
        REQUIRE(effect < 20);
        TempDir folder;
        PosixFiles files;
        const auto paths = make_run_folders(files, folder.path());
        FakeSlurm slurm;
        Actor actor{slurm, "desk"};
        actor.plan = {effect, FaultMode::die_after};
        survives([&] { (void)make(actor, paths, one).ok(); });
        if (slurm.counters.submits == 0)
            continue;
        CHECK(files.read(paths.attempt_file(one, "intent.json"))->has_value()); // sbatch was the last effect
        CHECK(!files.read(paths.attempt_file(one, "job.json"))->has_value());
        return;
    }
}

TEST_CASE("making an attempt: a rejection is an answer, is kept, and a later call tries again") {
    TempDir folder;
    PosixFiles files;
    const auto paths = make_run_folders(files, folder.path());
    FakeSlurm slurm;
    slurm.next_submit = FakeSlurm::Fault::rejected;
    Actor first{slurm, "first"}, second{slurm, "second"};
    const auto refused = make(first, paths, one);
    REQUIRE(refused);
    CHECK(refused->kind == MadeKind::rejected);
    CHECK(refused->text == slurm.rejection);
    const auto made = make(second, paths, one);
    REQUIRE(made);
    CHECK(made->kind == MadeKind::live);
    CHECK(slurm.job(*made->job).phase == JobPhase::pending);
}

TEST_CASE("making an attempt: a silent controller is unclear after a while, and a later call goes on") {
    TempDir folder;
    PosixFiles files;
    const auto paths = make_run_folders(files, folder.path());
    FakeSlurm slurm;
    slurm.controller_down = true;
    Actor first{slurm, "first"}, second{slurm, "second"};
    const auto unclear = make(first, paths, one);
    REQUIRE(unclear);
    CHECK(unclear->kind == MadeKind::unclear);
    slurm.controller_down = false;
    const auto made = make(second, paths, one);
    REQUIRE(made);
    CHECK(made->kind == MadeKind::live);
    CHECK(live_jobs(slurm, "tc-x-001") == 1);
}

TEST_CASE("claiming: whichever effect fails and however, one claim and one seal are left, and a namesake leaves") {
    for (const auto mode : fault_modes) {
        bool met = true;
        for (int effect = 0; met; ++effect) {
            REQUIRE(effect < 50);
            CAPTURE(static_cast<int>(mode));
            CAPTURE(effect);
            TempDir folder;
            PosixFiles files;
            const auto paths = make_run_folders(files, folder.path());
            FakeSlurm slurm;
            Actor desk{slurm, "desk"};
            const auto made = make(desk, paths, one);
            REQUIRE(made);
            slurm.advance(5s);
            REQUIRE(claim_attempt(desk.world, paths, {one, *made->job, 0, "n1"}, {}).value().empty());
            slurm.end(*made->job, "NODE_FAIL"); // no outcome: its ranks may live
            const auto next = make(desk, paths, two);
            REQUIRE(next);
            slurm.advance(5s);

            const Claimant me{two, *next->job, 0, "n2"}, namesake{two, JobId{999}, 0, "n3"};
            Actor first{slurm, "first"}, second{slurm, "second"}, other{slurm, "other"};
            first.plan = {effect, mode};
            survives([&] { (void)claim_attempt(first.world, paths, me, {}).ok(); });
            met = first.plan.met();
            const auto claimed = claim_attempt(second.world, paths, me, {});
            REQUIRE(claimed);
            CHECK(*claimed == "");
            const auto refused = claim_attempt(other.world, paths, namesake, {});
            REQUIRE(refused);
            CHECK(*refused != "");
            CHECK(read_claims(files, paths, two)->size() == 1);
            CHECK(seals_of(files, paths, one) == 1);
            CHECK(*still_claimed(files, paths, me));
            CHECK(!*still_claimed(files, paths, {one, *made->job, 0, "n1"}));
        }
    }
}

TEST_CASE("claiming: a successor of an attempt without an outcome trains a lease after its seal, not before") {
    TempDir folder;
    PosixFiles files;
    const auto paths = make_run_folders(files, folder.path());
    FakeSlurm slurm;
    Actor desk{slurm, "desk"};
    const auto made = make(desk, paths, one);
    slurm.advance(5s);
    REQUIRE(claim_attempt(desk.world, paths, {one, *made->job, 0, "n1"}, {}).value().empty());
    slurm.end(*made->job, "NODE_FAIL");
    const auto next = make(desk, paths, two);
    const ProtocolLimits limits;
    const auto before = slurm.now();
    REQUIRE(claim_attempt(desk.world, paths, {two, *next->job, 0, "n2"}, limits).value().empty());
    CHECK(slurm.now() - before >= limits.lease + limits.margin);
}

TEST_CASE("claiming: a successor of ranks that are known to be dead waits for nothing") {
    TempDir folder;
    PosixFiles files;
    const auto paths = make_run_folders(files, folder.path());
    FakeSlurm slurm;
    Actor desk{slurm, "desk"};
    const auto made = make(desk, paths, one);
    slurm.advance(5s);
    REQUIRE(claim_attempt(desk.world, paths, {one, *made->job, 0, "n1"}, {}).value().empty());
    Outcome outcome;
    outcome.job = *made->job;
    REQUIRE(write_record_file(files, paths.attempt_file(one, "outcome.json"), outcome));
    slurm.finish(*made->job, 1);
    const auto next = make(desk, paths, two);
    const auto before = slurm.now();
    REQUIRE(claim_attempt(desk.world, paths, {two, *next->job, 0, "n2"}, {}).value().empty());
    CHECK(slurm.now() == before);
}

TEST_CASE("claiming: a requeued job trains as a new incarnation after a lease, and its earlier start is out") {
    TempDir folder;
    PosixFiles files;
    const auto paths = make_run_folders(files, folder.path());
    FakeSlurm slurm;
    Actor desk{slurm, "desk"};
    const auto made = make(desk, paths, one);
    slurm.advance(5s);
    const Claimant before{one, *made->job, 0, "n1"}, after{one, *made->job, 1, "n2"};
    REQUIRE(claim_attempt(desk.world, paths, before, {}).value().empty());
    const auto start = slurm.now();
    REQUIRE(claim_attempt(desk.world, paths, after, {}).value().empty());
    CHECK(slurm.now() - start >= 32s);
    CHECK(!*still_claimed(files, paths, before));
    CHECK(*still_claimed(files, paths, after));
    CHECK(claim_attempt(desk.world, paths, before, {}).value() != "");
}
