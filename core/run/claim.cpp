#include "run/protocol.h"
#include "run/taken_slot.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

const JobSighting *sighting_of(const Scheduler::Found &found, const AttemptView &attempt) {
    for (const auto &job : found.jobs)
        if (is_owners_job(attempt, job))
            return &job;
    return nullptr;
}

// How long the last beat has stood still, as far as we saw.
Duration silence(const AttemptView &attempt, const ClaimKnowledge &known, Instant now) {
    const auto seen = known.beat_seen.find(attempt.no);
    return seen == known.beat_seen.end() ? 0ns : now - seen->second.second;
}

// May an earlier attempt that somebody claimed be sealed? Nothing: yes.
std::optional<ClaimStep> wait_for_owner(const AttemptView &attempt, const ClaimKnowledge &known,
                                        const ProtocolLimits &limits, Instant now) {
    if (attempt.outcome && attempt.outcome->ranks_dead)
        return std::nullopt;
    const auto text = "attempt " + to_string(attempt.no);
    // One that lives on and on is left to it: our job's nodes wait meanwhile.
    const auto watch = [&](const std::string &why) {
        return now - known.started >= limits.running_patience ? ClaimStep{LeaveIt{why}} : ClaimStep{WaitFor{limits.poll, why}};
    };
    if (!known.jobs) {
        const bool blind = known.blind_since && now - *known.blind_since >= limits.blind_patience;
        if (blind && silence(attempt, known, now) >= limits.lease + limits.margin)
            return std::nullopt; // nobody can tell us, and it has not beaten for a lease: the seal makes it safe
        return AskSlurm{};
    }
    const auto *job = sighting_of(*known.jobs, attempt);
    if (job == nullptr || job->phase == JobPhase::unknown) {
        // Slurm answered and has forgotten it, knows another life of it, or says a word that we don't know: only silence proves its death.
        if (silence(attempt, known, now) >= limits.lease + limits.margin)
            return std::nullopt;
        return watch(text + " is not listed and still beats");
    }
    if (job->phase == JobPhase::running && job->state != "COMPLETING")
        return watch(text + " is still running");
    return std::nullopt; // ended, ending, or requeued and waiting: the seal keeps it out
}

// The ranks of a sealed attempt may live until a lease after the seal, unless its head saw them dead.
bool may_have_live_ranks(const RunView &run, const AttemptView &attempt, AttemptNo before) {
    if (!attempt.owner() || (attempt.outcome && attempt.outcome->ranks_dead))
        return false;
    for (int no = attempt.no.value + 1; no < before.value; ++no)
        if (run.attempts[static_cast<std::size_t>(no - 1)].owner())
            return false; // whoever claimed that one has waited for this one
    return true;
}

std::optional<ClaimStep> step_of_earlier(const RunView &run, const Claimant &me, const ClaimKnowledge &known,
                                         const ProtocolLimits &limits, Instant now) {
    for (const auto &attempt : run.attempts) {
        if (attempt.no >= me.no)
            break;
        if (attempt.sealed())
            continue;
        if (attempt.owner())
            if (auto wait = wait_for_owner(attempt, known, limits, now))
                return wait;
        return SealAttempt{attempt.no, attempt.claims.size()};
    }
    for (const auto &attempt : run.attempts) {
        if (attempt.no >= me.no)
            break;
        const auto seen = known.sealed_seen.find(attempt.no);
        const Instant dead = (seen == known.sealed_seen.end() ? now : seen->second) + limits.lease + limits.margin;
        if (may_have_live_ranks(run, attempt, me.no) && now < dead)
            return WaitFor{std::min<Duration>(dead - now, limits.poll),
                           "the ranks of attempt " + to_string(attempt.no) + " may live until its lease is over"};
    }
    return std::nullopt;
}

// An incarnation of ours before a requeue: its head sees our claim and stops; its cut-off nodes within a lease.
std::optional<ClaimStep> step_of_incarnations(const AttemptView &mine, const ClaimKnowledge &known,
                                              const ProtocolLimits &limits, Instant now) {
    if (mine.claims.size() < 2 || (mine.outcome && mine.outcome->ranks_dead))
        return std::nullopt;
    const Instant dead = known.claimed_seen.value_or(now) + limits.lease + limits.margin;
    if (now >= dead)
        return std::nullopt;
    return WaitFor{std::min<Duration>(dead - now, limits.poll), "the ranks from before the requeue may live until their lease is over"};
}

} // namespace

ClaimStep next_claim_step(const RunView &run, const Claimant &me, const ClaimKnowledge &known,
                          const ProtocolLimits &limits, Instant now) {
    if (run.ended)
        return LeaveIt{fmt::format("the run has ended: {}", run.ended->why)};
    if (run.stop_wished())
        return LeaveIt{"somebody asked the run to stop"};
    const AttemptView *mine = run.find(me.no);
    if (mine == nullptr)
        return now - known.started >= limits.blind_patience
                   ? ClaimStep{LeaveIt{"the attempt's folder is not there"}}
                   : ClaimStep{WaitFor{limits.poll, "the attempt's folder is not visible here yet"}};
    if (mine->sealed())
        return LeaveIt{"the attempt was closed by " + mine->claims.back().by};
    if (!mine->claims.empty() && mine->claims.back().id == unreadable_owner)
        return LeaveIt{"a claim of this attempt can't be read: who trains is not known"};
    if (!mine->claims.empty() && !me.is(mine->claims.back())) {
        const Claim &other = mine->claims.back();
        if (other.id != me.job)
            return LeaveIt{"job " + to_string(other.id) + " trains as this attempt"};
        if (other.restarts > me.restarts)
            return LeaveIt{"a later start of this job trains as this attempt"};
    }
    if (auto step = step_of_earlier(run, me, known, limits, now))
        return *step;
    if (mine->claims.empty() || !me.is(mine->claims.back()))
        return LinkClaim{mine->claims.size()};
    if (auto step = step_of_incarnations(*mine, known, limits, now))
        return *step;
    return TrainNow{};
}

namespace {

// What changed since the last look, with times of our own clock.
void learn(ClaimKnowledge &known, const RunView &run, const Claimant &me, Instant now) {
    for (const auto &attempt : run.attempts) {
        if (attempt.no > me.no)
            break;
        if (attempt.sealed())
            known.sealed_seen.emplace(attempt.no, now);
        const auto [seen, first] = known.beat_seen.emplace(attempt.no, std::pair{attempt.beat, now});
        if (!first && seen->second.first != attempt.beat)
            seen->second = {attempt.beat, now};
    }
    if (const auto *mine = run.find(me.no); mine != nullptr && !mine->claims.empty() && me.is(mine->claims.back()) && !known.claimed_seen)
        known.claimed_seen = now;
}

// Names of all earlier attempts that somebody claimed and nobody sealed: one question for all of them.
std::vector<std::string> owners(const RunView &run, const RunPaths &paths, AttemptNo before) {
    std::vector<std::string> names;
    for (const auto &attempt : run.attempts)
        if (attempt.no < before && !attempt.sealed() && attempt.owner())
            names.push_back(job_name(paths.run, attempt.no));
    return names;
}

struct Effects {
    World &world;
    const RunPaths &paths;
    const Claimant &me;
    const ProtocolLimits &limits;
    const RunView &run;
    ClaimKnowledge &known;
    TakenSlot &taken;

    Result<void> publish(AttemptNo no, std::size_t slot, const Claim &claim) const {
        const auto path = paths.attempt_file(no, claim_slot(slot));
        auto ours = publish_record_file(world.files, path, claim);
        if (!ours)
            return ours.error();
        if (*ours && claim.is_seal())
            world.tell(no, "sealed", "by " + world.who);
        if (*ours || taken.wait(world.clock, path, limits.poll, limits.blind_patience)) // the next look tells whose it is
            return {};
        return Error{ErrorKind::timeout, "another has this claim, and it does not show here", path, ""};
    }

    Result<void> operator()(const LeaveIt &) const { return {}; }
    Result<void> operator()(const TrainNow &) const { return {}; }
    Result<void> operator()(const SealAttempt &seal) const {
        return publish(seal.no, seal.slot, Claim{JobId{}, 0, me.host, world.who, unix_seconds(world.clock.wall())});
    }
    Result<void> operator()(const LinkClaim &link) const {
        return publish(me.no, link.slot, Claim{me.job, me.restarts, me.host, world.who, unix_seconds(world.clock.wall())});
    }
    Result<void> operator()(const WaitFor &wait) const {
        world.clock.sleep_for(wait.duration);
        known.jobs.reset(); // what Slurm said is old by now
        return {};
    }
    Result<void> operator()(const AskSlurm &) const {
        auto found = world.scheduler.find(owners(run, paths, me.no));
        if (found) {
            known.jobs = std::move(*found);
            known.blind_since.reset();
        } else {
            known.blind_since = known.blind_since.value_or(world.clock.now());
            world.clock.sleep_for(limits.poll);
        }
        return {};
    }
};

} // namespace

Result<std::string> claim_attempt(World &world, const RunPaths &paths, const Claimant &me, const ProtocolLimits &limits) {
    ClaimKnowledge known;
    TakenSlot taken;
    known.started = world.clock.now();
    for (;;) {
        auto run = look_at_run(world.files, paths);
        if (!run)
            return run.error();
        const Instant now = world.clock.now();
        learn(known, *run, me, now);
        ClaimStep step = next_claim_step(*run, me, known, limits, now);
        if (auto *leave = std::get_if<LeaveIt>(&step))
            return leave->why;
        if (std::holds_alternative<TrainNow>(step))
            return std::string{};
        if (auto done = std::visit(Effects{world, paths, me, limits, *run, known, taken}, step); !done)
            return done.error();
    }
}

Result<bool> still_claimed(Files &files, const RunPaths &paths, const Claimant &me) {
    // Slots are linked in order and never removed: whose is the last one?
    auto claims = read_claims(files, paths, me.no);
    if (!claims)
        return claims.error();
    return !claims->empty() && me.is(claims->back());
}

} // namespace trainctl
