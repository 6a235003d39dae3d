#include "support/faults.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const AttemptNo one{1}, two{2};

Result<MadeAttempt> make(Actor &actor, const RunPaths &paths, AttemptNo no, std::optional<JobId> after = {}) {
    return make_attempt(actor.world, paths, MakeRequest{no, after, {}, plain_prepare(paths)}, ProtocolLimits{});
}

int seals_of(Files &files, const RunPaths &paths, AttemptNo no) {
    const auto claims = read_claims(files, paths, no);
    REQUIRE(claims);
    int count = 0;
    for (const auto &claim : *claims)
        count += claim.is_seal() ? 1 : 0;
    return count;
}

// The first attempt of a new run, trained by its job.
struct Trained : RunStage {
    Actor desk{slurm, "desk"};
    JobId job = submit(one);

    Trained() { REQUIRE(claim_attempt(desk.world, paths, {one, job, 0, "n1"}, {}).value().empty()); }

    JobId submit(AttemptNo no) {
        const auto made = make(desk, paths, no);
        REQUIRE(made);
        REQUIRE(made->job);
        slurm.advance(5s);
        return *made->job;
    }
    Duration claiming(const Claimant &me) {
        const auto before = slurm.now();
        REQUIRE(claim_attempt(desk.world, paths, me, {}).value().empty());
        return slurm.now() - before;
    }
};

// Another host's new file, which this host's cached view of the folder does not show yet.
class LateFiles final : public Files {
public:
    LateFiles(Clock &clock, std::string path, Duration lateness) : clock_(clock), path_(std::move(path)), until_(clock.now() + lateness) {}

    int publishes = 0;

    Result<std::optional<std::string>> read(const std::string &path) override {
        return path == path_ && clock_.now() < until_ ? Result<std::optional<std::string>>{std::optional<std::string>{}} : real_.read(path);
    }
    Result<bool> publish(const std::string &path, std::string_view text) override {
        if (++publishes > 1000)
            throw Died{}; // nobody slept
        return real_.publish(path, text);
    }
    Result<bool> make_dir(const std::string &path) override { return real_.make_dir(path); }
    Result<void> make_dirs(const std::string &path) override { return real_.make_dirs(path); }
    Result<void> write(const std::string &path, std::string_view text) override { return real_.write(path, text); }
    Result<void> append(const std::string &path, std::string_view text) override { return real_.append(path, text); }
    Result<std::vector<std::string>> list(const std::string &path) override { return real_.list(path); }
    Result<void> rename(const std::string &from, const std::string &to) override { return real_.rename(from, to); }
    Result<void> remove(const std::string &path) override { return real_.remove(path); }

private:
    PosixFiles real_;
    Clock &clock_;
    const std::string path_;
    const Instant until_;
};

} // namespace

TEST_CASE("making an attempt: whichever effect fails and however, the next process leaves exactly one live job") {
    for_each_fault([](const FaultPlan &plan) {
        RunStage stage;
        Actor first{stage.slurm, "first"}, second{stage.slurm, "second"};
        first.plan = plan;
        survives([&] { (void)make(first, stage.paths, one).ok(); });
        const auto made = make(second, stage.paths, one);
        REQUIRE(made);
        CHECK(made->kind == MadeKind::live);
        REQUIRE(made->job);
        CHECK(live_jobs(stage.slurm, "tc-x-001") == 1);
        CHECK(stage.slurm.job(*made->job).phase != JobPhase::ended);
        return first.plan;
    });
}

TEST_CASE("making an attempt: one that was made is adopted, and sbatch is not called again") {
    RunStage stage;
    Actor first{stage.slurm, "first"}, second{stage.slurm, "second"};
    const auto made = make(first, stage.paths, one), again = make(second, stage.paths, one);
    REQUIRE(made);
    REQUIRE(again);
    CHECK(made->job == again->job);
    CHECK(stage.slurm.counters.submits == 1);
}

TEST_CASE("making an attempt: the intent is on disk before sbatch is called") {
    for (int effect = 0;; ++effect) {
        REQUIRE(effect < 20);
        RunStage stage;
        Actor actor{stage.slurm, "desk"};
        actor.plan = {effect, FaultMode::die_after};
        survives([&] { (void)make(actor, stage.paths, one).ok(); });
        if (stage.slurm.counters.submits == 0)
            continue;
        CHECK(stage.files.read(stage.paths.attempt_file(one, "intent.json"))->has_value()); // sbatch was the last effect
        CHECK(!stage.files.read(stage.paths.attempt_file(one, "job.json"))->has_value());
        return;
    }
}

TEST_CASE("making an attempt: a rejection is an answer, is kept, and a later call tries again") {
    RunStage stage;
    stage.slurm.next_submit = FakeSlurm::Fault::rejected;
    Actor first{stage.slurm, "first"}, second{stage.slurm, "second"};
    const auto refused = make(first, stage.paths, one);
    REQUIRE(refused);
    CHECK(refused->kind == MadeKind::rejected);
    CHECK(refused->text == stage.slurm.rejection);
    const auto made = make(second, stage.paths, one);
    REQUIRE(made);
    CHECK(made->kind == MadeKind::live);
    CHECK(stage.slurm.job(*made->job).phase == JobPhase::pending);
}

TEST_CASE("making an attempt: a silent controller is unclear after a while, and a later call goes on") {
    RunStage stage;
    stage.slurm.controller_down = true;
    Actor first{stage.slurm, "first"}, second{stage.slurm, "second"};
    const auto unclear = make(first, stage.paths, one);
    REQUIRE(unclear);
    CHECK(unclear->kind == MadeKind::unclear);
    CHECK(unclear->text.find("sbatch said: sbatch: error: Batch job submission failed: Socket timed out") != std::string::npos);
    stage.slurm.controller_down = false;
    const auto made = make(second, stage.paths, one);
    REQUIRE(made);
    CHECK(made->kind == MadeKind::live);
    CHECK(live_jobs(stage.slurm, "tc-x-001") == 1);
}

TEST_CASE("making an attempt: one who waits little for a silent Slurm still waits for sbatch's horizon") {
    RunStage stage;
    stage.slurm.next_submit = FakeSlurm::Fault::lost_request;
    Actor actor{stage.slurm, "desk"};
    ProtocolLimits limits;
    limits.make_patience = 30s;
    const auto made = make_attempt(actor.world, stage.paths, MakeRequest{one, {}, {}, plain_prepare(stage.paths)}, limits);
    REQUIRE(made);
    CHECK(made->kind == MadeKind::live);
    CHECK(stage.slurm.counters.submits == 2);
}

TEST_CASE("claiming: whichever effect fails and however, one claim and one seal are left, and a namesake leaves") {
    for_each_fault([](const FaultPlan &plan) {
        Trained stage;
        stage.slurm.end(stage.job, "NODE_FAIL"); // no outcome: its ranks may live
        const Claimant me{two, stage.submit(two), 0, "n2"}, namesake{two, JobId{999}, 0, "n3"};
        Actor first{stage.slurm, "first"}, second{stage.slurm, "second"}, other{stage.slurm, "other"};
        first.plan = plan;
        survives([&] { (void)claim_attempt(first.world, stage.paths, me, {}).ok(); });
        const auto claimed = claim_attempt(second.world, stage.paths, me, {});
        REQUIRE(claimed);
        CHECK(*claimed == "");
        const auto refused = claim_attempt(other.world, stage.paths, namesake, {});
        REQUIRE(refused);
        CHECK(*refused != "");
        CHECK(read_claims(stage.files, stage.paths, two)->size() == 1);
        CHECK(seals_of(stage.files, stage.paths, one) == 1);
        CHECK(*still_claimed(stage.files, stage.paths, me));
        CHECK(!*still_claimed(stage.files, stage.paths, {one, stage.job, 0, "n1"}));
        return first.plan;
    });
}

TEST_CASE("claiming: a successor of an attempt without an outcome trains a lease after its seal, not before") {
    Trained stage;
    stage.slurm.end(stage.job, "NODE_FAIL");
    const ProtocolLimits limits;
    CHECK(stage.claiming({two, stage.submit(two), 0, "n2"}) >= limits.lease + limits.margin);
}

TEST_CASE("claiming: a successor of ranks that are known to be dead waits for nothing") {
    Trained stage;
    Outcome outcome;
    outcome.job = stage.job;
    stage.put(one, "outcome.json", outcome);
    stage.slurm.finish(stage.job, 1);
    CHECK(stage.claiming({two, stage.submit(two), 0, "n2"}) == 0s);
}

TEST_CASE("claiming: a requeued job trains as a new incarnation after a lease, and its earlier start is out") {
    Trained stage;
    const Claimant before{one, stage.job, 0, "n1"}, after{one, stage.job, 1, "n2"};
    CHECK(stage.claiming(after) >= 32s);
    CHECK(!*still_claimed(stage.files, stage.paths, before));
    CHECK(*still_claimed(stage.files, stage.paths, after));
    CHECK(claim_attempt(stage.desk.world, stage.paths, before, {}).value() != "");
}

TEST_CASE("claiming: a claim that can't be read is an owner nobody knows, dead a lease after its last beat") {
    Trained stage;
    REQUIRE(stage.files.write(stage.paths.attempt_file(one, "claim"), "{\"id\": 1"));
    ProgressFile progress;
    progress.beat = 3;
    stage.put(one, "progress.json", progress);
    stage.slurm.end(stage.job, "NODE_FAIL"); // Slurm's word on this job says nothing of an owner that may be another
    const ProtocolLimits limits;
    CHECK(stage.claiming({two, stage.submit(two), 0, "n2"}) >= 2 * (limits.lease + limits.margin)); // silence, then the seal
    CHECK(look_at_attempt(stage.files, stage.paths, one)->sealed());
    Actor same{stage.slurm, "same"};
    CHECK(claim_attempt(same.world, stage.paths, {one, stage.job, 0, "n1"}, {}).value() == "the attempt was closed by desk");
}

TEST_CASE("claiming: nobody trains as an attempt whose last claim can't be read") {
    Trained stage;
    REQUIRE(stage.files.write(stage.paths.attempt_file(one, "claim"), ""));
    CHECK(claim_attempt(stage.desk.world, stage.paths, {one, stage.job, 0, "n1"}, {}).value().find("can't be read") != std::string::npos);
    CHECK(!still_claimed(stage.files, stage.paths, {one, stage.job, 0, "n1"})); // neither yes nor no
}

TEST_CASE("slots: one that is taken and does not show is waited for, by the clock and not for ever") {
    const ProtocolLimits limits;
    for (const Duration lateness : {Duration{0s}, Duration{60s}, Duration{24h}}) {
        CAPTURE(lateness / 1s);
        Trained stage; // attempt 1 has an intent and a claim of another
        SlurmClock clock{stage.slurm};
        LateFiles claims{clock, stage.paths.attempt_file(one, "claim"), lateness}, intents{clock, stage.paths.attempt_file(one, "intent.json"), lateness};
        World claimant{claims, stage.slurm, clock, "late"}, maker{intents, stage.slurm, clock, "late"};
        const auto begun = clock.now();
        const auto claimed = claim_attempt(claimant, stage.paths, {one, JobId{999}, 0, "n9"}, limits);
        CHECK(claims.publishes <= limits.blind_patience / limits.poll + 2);
        CHECK(clock.now() - begun <= std::min(lateness, limits.blind_patience) + limits.poll);
        if (lateness < limits.blind_patience)
            CHECK(claimed.value() == "job 1 trains as this attempt");
        else
            CHECK(claimed.error().kind == ErrorKind::timeout);

        REQUIRE(stage.files.remove(stage.paths.attempt_file(one, "claim"))); // an attempt that is still being made
        const auto made = make_attempt(maker, stage.paths, MakeRequest{one, {}, {}, plain_prepare(stage.paths)}, limits);
        CHECK(intents.publishes <= limits.make_patience / limits.poll + 2);
        if (lateness < limits.make_patience)
            CHECK(made->kind == MadeKind::live);
        else
            CHECK(made.error().kind == ErrorKind::timeout);
        CHECK(stage.slurm.counters.submits == 1);
    }
}
