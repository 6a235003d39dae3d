#include "run/protocol.h"

#include <doctest/doctest.h>
#include <functional>
#include <vector>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const Instant start{1000s};
constexpr JobId job_one{11}, job_two{12}, job_three{13};

Claim claim_of(JobId job, int restarts = 0) { return Claim{job, restarts, "n1", "", 0}; }
Claim seal() { return Claim{JobId{}, 0, "n2", "job 99", 0}; }

JobSighting sighting(JobId id, JobPhase phase, const std::string &state) {
    JobSighting job;
    job.id = id;
    job.phase = phase;
    job.state = state;
    return job;
}

AttemptView attempt(int no, std::vector<Claim> claims = {}) {
    AttemptView view{};
    view.no = AttemptNo{no};
    view.claims = std::move(claims);
    return view;
}

AttemptView with_outcome(AttemptView view, bool ranks_dead) {
    Outcome outcome;
    outcome.ranks_dead = ranks_dead;
    view.outcome = outcome;
    return view;
}

struct Case {
    RunView run;
    Claimant me{AttemptNo{2}, job_two, 0, "n2"};
    ClaimKnowledge known;
    ProtocolLimits limits;
    Instant now = start;

    Case() { known.started = start; }
    void slurm(std::vector<JobSighting> jobs) { known.jobs = Scheduler::Found{std::move(jobs), true}; }
};

std::string step_text(const Case &c) {
    const ClaimStep step = next_claim_step(c.run, c.me, c.known, c.limits, c.now);
    if (const auto *leave = std::get_if<LeaveIt>(&step))
        return "leave: " + leave->why;
    if (const auto *it = std::get_if<SealAttempt>(&step))
        return "seal " + to_string(it->no) + " slot " + std::to_string(it->slot);
    if (const auto *link = std::get_if<LinkClaim>(&step))
        return "link slot " + std::to_string(link->slot);
    if (const auto *wait = std::get_if<WaitFor>(&step))
        return "wait " + std::to_string(wait->duration / 1ms) + " ms";
    return std::holds_alternative<AskSlurm>(step) ? "ask" : "train";
}

struct Row {
    const char *name;
    std::function<void(Case &)> set;
    const char *step; // the whole text, or its beginning
};

void check(const std::vector<Row> &rows) {
    for (const auto &row : rows) {
        CAPTURE(row.name);
        Case c;
        row.set(c);
        CHECK(step_text(c).substr(0, std::string{row.step}.size()) == row.step);
    }
}

} // namespace

TEST_CASE("claim step: who must leave") {
    check({
        {"ended", [](Case &c) { c.run.ended = Ended{EndKind::finished, "done", AttemptNo{1}, 0}; c.run.attempts = {attempt(1), attempt(2)}; }, "leave: the run has ended: done"},
        {"stop wished", [](Case &c) { c.run.end_wish = EndWish::stop; c.run.attempts = {attempt(1), attempt(2)}; }, "leave: somebody asked"},
        {"sealed", [](Case &c) { c.run.attempts = {attempt(1), attempt(2, {seal()})}; }, "leave: the attempt was closed by job 99"},
        {"sealed after our claim", [](Case &c) { c.run.attempts = {attempt(1), attempt(2, {claim_of(job_two), seal()})}; }, "leave: the attempt was closed"},
        {"another job", [](Case &c) { c.run.attempts = {attempt(1), attempt(2, {claim_of(job_three)})}; }, "leave: job 13 trains"},
        {"a later start of ours", [](Case &c) { c.run.attempts = {attempt(1), attempt(2, {claim_of(job_two, 1)})}; }, "leave: a later start"},
        {"an earlier attempt that runs on and on", [](Case &c) {
             c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)};
             c.slurm({sighting(job_one, JobPhase::running, "RUNNING")});
             c.now = start + c.limits.running_patience;
         }, "leave: attempt 001 is still running"},
        {"a folder that never shows", [](Case &c) { c.now = start + c.limits.blind_patience; }, "leave: the attempt's folder"},
        {"a folder that does not show yet", [](Case &) {}, "wait 2000 ms"},
    });
}

TEST_CASE("claim step: earlier attempts are sealed before anything is claimed") {
    check({
        {"nobody claimed it", [](Case &c) { c.run.attempts = {attempt(1), attempt(2)}; }, "seal 001 slot 0"},
        {"nobody claimed it, and Slurm is silent", [](Case &c) { c.known.blind_since = start; c.run.attempts = {attempt(1), attempt(2)}; }, "seal 001 slot 0"},
        {"its ranks are dead", [](Case &c) { c.run.attempts = {with_outcome(attempt(1, {claim_of(job_one)}), true), attempt(2)}; }, "seal 001 slot 1"},
        {"the lowest first", [](Case &c) { c.me.no = AttemptNo{3}; c.run.attempts = {attempt(1, {seal()}), attempt(2), attempt(3)}; }, "seal 002 slot 0"},
        {"two incarnations", [](Case &c) { c.run.attempts = {with_outcome(attempt(1, {claim_of(job_one), claim_of(job_one, 1)}), true), attempt(2)}; }, "seal 001 slot 2"},
        {"all sealed: now the claim", [](Case &c) { c.run.attempts = {attempt(1, {seal()}), attempt(2)}; }, "link slot 0"},
        {"the first attempt", [](Case &c) { c.me.no = AttemptNo{1}; c.run.attempts = {attempt(1)}; }, "link slot 0"},
        {"a later attempt is none of its business", [](Case &c) { c.me.no = AttemptNo{1}; c.run.attempts = {attempt(1), attempt(2)}; }, "link slot 0"},
        {"an earlier start of ours is taken over", [](Case &c) { c.me.restarts = 1; c.run.attempts = {attempt(1, {seal()}), attempt(2, {claim_of(job_two)})}; }, "link slot 1"},
        {"ours already", [](Case &c) { c.run.attempts = {attempt(1, {seal()}), attempt(2, {claim_of(job_two)})}; }, "train"},
    });
}

TEST_CASE("claim step: an owner without an outcome is asked about, and Slurm's answer decides") {
    const auto owner = [](std::vector<JobSighting> jobs) {
        return [jobs](Case &c) {
            c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)};
            c.slurm(jobs);
        };
    };
    check({
        {"not asked yet", [](Case &c) { c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)}; }, "ask"},
        {"an outcome that leaves ranks", [](Case &c) { c.run.attempts = {with_outcome(attempt(1, {claim_of(job_one)}), false), attempt(2)}; }, "ask"},
        {"running", owner({sighting(job_one, JobPhase::running, "RUNNING")}), "wait 2000 ms"},
        {"suspended", owner({sighting(job_one, JobPhase::running, "SUSPENDED")}), "wait 2000 ms"},
        {"completing", owner({sighting(job_one, JobPhase::running, "COMPLETING")}), "seal 001 slot 1"},
        {"failed", owner({sighting(job_one, JobPhase::ended, "FAILED")}), "seal 001 slot 1"},
        {"node failure", owner({sighting(job_one, JobPhase::ended, "NODE_FAIL")}), "seal 001 slot 1"},
        {"requeued and waiting", owner({sighting(job_one, JobPhase::pending, "PENDING")}), "seal 001 slot 1"},
        {"a word nobody knows", owner({sighting(job_one, JobPhase::unknown, "PONDERING")}), "wait 2000 ms"},
        {"not listed", owner({}), "wait 2000 ms"},
        {"only a namesake is listed", owner({sighting(job_three, JobPhase::ended, "FAILED")}), "wait 2000 ms"},
    });
}

TEST_CASE("claim step: an empty answer is no evidence, a beat that stands still for a lease is") {
    Case c;
    c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)};
    c.slurm({});
    c.known.beat_seen[AttemptNo{1}] = {7, start};
    c.now = start + c.limits.lease + c.limits.margin - 1ms;
    CHECK(step_text(c) == "wait 2000 ms");
    c.now += 1ms;
    CHECK(step_text(c) == "seal 001 slot 1");
    c.known.beat_seen[AttemptNo{1}] = {8, c.now}; // it beat once more
    CHECK(step_text(c) == "wait 2000 ms");
}

TEST_CASE("claim step: an earlier attempt that is not listed and beats on and on is left to it") {
    Case c;
    c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)};
    c.slurm({});
    c.now = start + c.limits.running_patience - 1ms;
    c.known.beat_seen[AttemptNo{1}] = {7, c.now - 5s};
    CHECK(step_text(c) == "wait 2000 ms");
    c.now += 1ms;
    CHECK(step_text(c) == "leave: attempt 001 is not listed and still beats");
    c.known.beat_seen[AttemptNo{1}] = {7, start}; // silent at last
    CHECK(step_text(c) == "seal 001 slot 1");
}

TEST_CASE("claim step: a job of the owner's id counts where Slurm's submit time is the owner's, or is not known") {
    const auto at = [](std::int64_t seconds) { return from_unix_seconds(seconds); };
    Case c;
    c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)};
    auto ended = sighting(job_one, JobPhase::ended, "FAILED");
    ended.submitted = at(500);
    c.slurm({ended});
    CHECK(step_text(c) == "seal 001 slot 1"); // a record without the time
    c.run.attempts[0].job = JobFile{job_one, 400, "n1"};
    CHECK(step_text(c) == "wait 2000 ms"); // the id came round again, or a requeue: this says nothing of the owner
    c.run.attempts[0].job = JobFile{job_one, 500, "n1"};
    CHECK(step_text(c) == "seal 001 slot 1");
    c.run.attempts[0].job = JobFile{job_three, 400, "n1"}; // another job's record
    CHECK(step_text(c) == "seal 001 slot 1");
}

TEST_CASE("claim step: while Slurm is silent, patience and the lease must both be over") {
    Case c;
    c.run.attempts = {attempt(1, {claim_of(job_one)}), attempt(2)};
    c.known.blind_since = start;
    c.known.beat_seen[AttemptNo{1}] = {7, start};
    c.now = start + c.limits.blind_patience - 1ms;
    CHECK(step_text(c) == "ask");
    c.now += 1ms;
    CHECK(step_text(c) == "seal 001 slot 1");
    c.known.beat_seen[AttemptNo{1}] = {8, c.now}; // it still beats
    CHECK(step_text(c) == "ask");
}

TEST_CASE("claim step: the lease is waited out after the seal, from when it was seen") {
    Case c;
    c.run.attempts = {attempt(1, {claim_of(job_one), seal()}), attempt(2)};
    CHECK(step_text(c) == "wait 2000 ms"); // just seen
    c.known.sealed_seen[AttemptNo{1}] = start;
    c.now = start + c.limits.lease + c.limits.margin - 1ms;
    CHECK(step_text(c) == "wait 1 ms");
    c.now += 1ms;
    CHECK(step_text(c) == "link slot 0");
}

TEST_CASE("claim step: no lease is waited for ranks that can't live") {
    check({
        {"nobody ever claimed it", [](Case &c) { c.run.attempts = {attempt(1, {seal()}), attempt(2)}; }, "link slot 0"},
        {"its head saw them dead", [](Case &c) { c.run.attempts = {with_outcome(attempt(1, {claim_of(job_one), seal()}), true), attempt(2)}; }, "link slot 0"},
        {"a later owner has waited for them", [](Case &c) {
             c.me.no = AttemptNo{3};
             c.run.attempts = {attempt(1, {claim_of(job_one), seal()}), with_outcome(attempt(2, {claim_of(job_two), seal()}), true), attempt(3)};
             c.me.job = job_three;
         }, "link slot 0"},
        {"a later attempt without an owner waited for nobody", [](Case &c) {
             c.me.no = AttemptNo{3};
             c.run.attempts = {attempt(1, {claim_of(job_one), seal()}), attempt(2, {seal()}), attempt(3)};
         }, "wait 2000 ms"},
    });
}

TEST_CASE("claim step: a new incarnation waits for the ranks of the one before") {
    Case c;
    c.me.restarts = 1;
    c.run.attempts = {attempt(1, {seal()}), attempt(2, {claim_of(job_two), claim_of(job_two, 1)})};
    CHECK(step_text(c) == "wait 2000 ms");
    c.known.claimed_seen = start;
    c.now = start + c.limits.lease + c.limits.margin;
    CHECK(step_text(c) == "train");
}
