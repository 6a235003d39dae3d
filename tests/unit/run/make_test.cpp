#include "run/protocol.h"

#include <doctest/doctest.h>
#include <functional>
#include <vector>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const Instant start{1000s};

JobSighting sighting(std::uint64_t id, JobPhase phase, const std::string &state) {
    JobSighting job;
    job.id = JobId{id};
    job.phase = phase;
    job.state = state;
    return job;
}

JobSighting ghost(std::uint64_t id) {
    auto job = sighting(id, JobPhase::ended, "FAILED");
    job.reason = "BadConstraints";
    return job;
}

Intent intent(const std::string &token) {
    Intent made;
    made.token = token;
    return made;
}

struct Case {
    AttemptView attempt{};
    MakeKnowledge known;
    ProtocolLimits limits;
    Instant now = start;

    Case() {
        known.started = start;
        attempt.no = AttemptNo{1};
    }
    void slurm(std::vector<JobSighting> jobs) { known.jobs = Scheduler::Found{std::move(jobs), true}; }
};

std::string step_text(const Case &c) {
    const MakeStep step = next_make_step(c.attempt, c.known, c.limits, c.now);
    if (const auto *publish = std::get_if<PublishIntent>(&step))
        return "intent " + std::to_string(publish->slot);
    if (std::holds_alternative<LookForJob>(step))
        return "look";
    if (std::holds_alternative<WaitFor>(step))
        return "wait";
    const auto &made = std::get<MakeDone>(step).made;
    constexpr std::array kinds{"live", "over", "rejected", "unclear"};
    return kinds.at(static_cast<std::size_t>(made.kind)) + (made.job ? " " + to_string(*made.job) : std::string{});
}

struct Row {
    const char *name;
    std::function<void(Case &)> set;
    const char *step;
};

} // namespace

TEST_CASE("make step: what is known of an attempt decides what comes next") {
    const Claim mine{JobId{5}, 0, "n1", "", 0}, seal{JobId{}, 0, "n2", "job 9", 0};
    const std::vector<Row> rows{
        {"nothing there", [](Case &) {}, "intent 0"},
        {"an intent, Slurm not asked", [](Case &c) { c.attempt.intents = {intent("a")}; }, "look"},
        {"silent for too long", [](Case &c) { c.attempt.intents = {intent("a")}; c.known.silent_since = start; c.now = start + c.limits.make_patience; }, "unclear"},
        {"answering, and not there, for as long", [](Case &c) { c.attempt.intents = {intent("a")}; c.known.answered_since = start; c.now = start + c.limits.make_patience; }, "look"},
        {"answering now and then, without end", [](Case &c) { c.attempt.intents = {intent("a")}; c.now = start + c.limits.make_patience + 2 * c.limits.horizon; }, "unclear"},
        {"a claim that can't be read", [](Case &c) { c.attempt.claims = {Claim{unreadable_owner, 0, "", "", 0}}; }, "unclear"},
        {"claimed", [&](Case &c) { c.attempt.claims = {mine}; }, "live 5"},
        {"claimed and closed", [&](Case &c) { c.attempt.claims = {mine, seal}; }, "over 5"},
        {"closed before anybody claimed it", [&](Case &c) { c.attempt.claims = {seal}; }, "over"},
        {"pending", [](Case &c) { c.attempt.intents = {intent("a")}; c.slurm({sighting(3, JobPhase::pending, "PENDING")}); }, "live 3"},
        {"running beside one that ended", [](Case &c) {
             c.attempt.intents = {intent("a")};
             c.slurm({sighting(3, JobPhase::running, "RUNNING"), sighting(4, JobPhase::ended, "CANCELLED")});
         }, "live 3"},
        {"came and went", [](Case &c) { c.attempt.intents = {intent("a")}; c.slurm({sighting(3, JobPhase::ended, "FAILED"), sighting(4, JobPhase::ended, "TIMEOUT")}); }, "over 4"},
        {"a state that nobody knows", [](Case &c) { c.attempt.intents = {intent("a")}; c.slurm({sighting(3, JobPhase::unknown, "PONDERING")}); }, "live 3"},
        {"a ghost is no job", [](Case &c) { c.attempt.intents = {intent("a")}; c.slurm({ghost(3)}); }, "wait"},
        {"a ghost beside a job", [](Case &c) { c.attempt.intents = {intent("a")}; c.slurm({ghost(4), sighting(3, JobPhase::pending, "PENDING")}); }, "live 3"},
        {"known once, forgotten by Slurm", [](Case &c) { c.attempt.intents = {intent("a")}; c.attempt.job = JobFile{JobId{3}, 0, ""}; c.slurm({}); }, "over 3"},
        {"not there, and sbatch may still be trying", [](Case &c) {
             c.attempt.intents = {intent("a")};
             c.slurm({});
             c.known.answered_since = start;
             c.now = start + c.limits.horizon - 1ms;
         }, "wait"},
        {"not there after sbatch's horizon", [](Case &c) {
             c.attempt.intents = {intent("a"), intent("b")};
             c.slurm({});
             c.known.answered_since = start;
             c.now = start + c.limits.horizon;
         }, "intent 2"},
        {"rejected: ours", [](Case &c) { c.attempt.intents = {intent("a")}; c.attempt.rejected = "no"; c.known.mine = "a"; }, "rejected"},
        {"rejected: another's, tried again", [](Case &c) { c.attempt.intents = {intent("a")}; c.attempt.rejected = "no"; }, "intent 1"},
        {"rejected: another's, after ours: enough for one call", [](Case &c) {
             c.attempt.intents = {intent("a"), intent("b")};
             c.attempt.rejected = "no";
             c.known.mine = "a";
         }, "rejected"},
        {"rejected: another's, not to be tried again", [](Case &c) { c.attempt.intents = {intent("a")}; c.attempt.rejected = "no"; c.known.retry_rejected = false; }, "rejected"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.name);
        Case c;
        row.set(c);
        CHECK(step_text(c) == row.step);
    }
}

TEST_CASE("make step: a record that never ran for lack of constraints is a ghost, one that started is not") {
    auto job = ghost(1);
    CHECK(is_ghost(job));
    job.started = WallTime{};
    CHECK(!is_ghost(job));
    CHECK(!is_ghost(sighting(1, JobPhase::ended, "FAILED")));
    CHECK(!is_ghost(sighting(1, JobPhase::pending, "PENDING")));
}
