#include "run/protocol.h"

#include "base/hash.h"
#include "run/taken_slot.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

bool is_ghost(const JobSighting &job) {
    return job.phase == JobPhase::ended && job.state == "FAILED" && job.reason == "BadConstraints" && !job.started;
}

bool is_live(const JobSighting &job) { return job.phase == JobPhase::pending || job.phase == JobPhase::running; }

namespace {

// A live job of the attempt's name first, then one that came and went, then nothing.
const JobSighting *best_job(const Scheduler::Found &found) {
    const JobSighting *best = nullptr;
    for (const auto &job : found.jobs) {
        if (is_ghost(job))
            continue;
        if (is_live(job))
            return &job;
        if (best == nullptr || job.id > best->id)
            best = &job;
    }
    return best;
}

std::optional<MakeStep> step_of_found(const AttemptView &attempt, const MakeKnowledge &known) {
    if (const auto *job = best_job(*known.jobs)) {
        if (job->phase == JobPhase::unknown) // listed, in a state that we don't know: it exists
            return MakeDone{{MadeKind::live, job->id, job->state}};
        return MakeDone{{is_live(*job) ? MadeKind::live : MadeKind::over, job->id, job->state}};
    }
    if (attempt.job) // it was there once, and Slurm answers that it is no more
        return MakeDone{{MadeKind::over, attempt.job->id, "Slurm has forgotten the job"}};
    return std::nullopt;
}

} // namespace

MakeStep next_make_step(const AttemptView &attempt, const MakeKnowledge &known, const ProtocolLimits &limits,
                        Instant now) {
    if (const auto owner = attempt.owner(); owner && owner->id == unreadable_owner)
        return MakeDone{{attempt.sealed() ? MadeKind::over : MadeKind::unclear, std::nullopt, "a claim of the attempt can't be read"}};
    else if (owner)
        return MakeDone{{attempt.sealed() ? MadeKind::over : MadeKind::live, owner->id, ""}};
    if (attempt.sealed())
        return MakeDone{{MadeKind::over, std::nullopt, "closed by " + attempt.claims.back().by}};
    if (attempt.intents.empty())
        return PublishIntent{0};
    if (attempt.rejected) {
        const bool tried = !known.mine.empty(); // once a call, or two makers would go on for ever
        if (tried || !known.retry_rejected)
            return MakeDone{{MadeKind::rejected, std::nullopt, *attempt.rejected}};
        return PublishIntent{attempt.intents.size()};
    }
    if (!known.jobs) {
        // Answers that come and go keep the horizon from ending: that, too, has a bound.
        const bool silent = known.silent_since && now - *known.silent_since >= limits.make_patience;
        if (silent || now - known.started >= limits.make_patience + 2 * limits.horizon)
            return MakeDone{{MadeKind::unclear, std::nullopt, "Slurm does not answer whether the job exists" +
                                                                  (known.sbatch_said.empty() ? "" : "; sbatch said: " + known.sbatch_said)}};
        return LookForJob{};
    }
    if (auto done = step_of_found(attempt, known))
        return *done;
    // "Not found" is final only when sbatch can't be retrying any more.
    if (known.answered_since && now - *known.answered_since >= limits.horizon)
        return PublishIntent{attempt.intents.size()};
    return WaitFor{limits.poll, "sbatch was called and no job is to be seen yet"};
}

namespace {

struct Maker {
    World &world;
    const RunPaths &paths;
    const MakeRequest &request;
    const ProtocolLimits &limits;
    MakeKnowledge known = {};
    TakenSlot taken = {};

    std::string file(const std::string &name) const { return paths.attempt_file(request.no, name); }

    // The intent first, on disk; then sbatch, once.
    Result<void> operator()(const PublishIntent &publish) {
        auto submit = request.prepare(request);
        if (!submit)
            return submit.error();
        const Intent intent{world.who, unix_seconds(world.clock.wall()), random_hex(8),
                            request.after, submit->options, request.exclude_nodes};
        const auto path = file(intent_slot(publish.slot));
        auto ours = publish_record_file(world.files, path, intent);
        if (!ours)
            return ours.error();
        if (!*ours) { // another made it, and calls sbatch: look for that job
            if (taken.wait(world.clock, path, limits.poll, limits.make_patience))
                return {};
            return Error{ErrorKind::timeout, "another is submitting this attempt, and its intent does not show here", path, "try again"};
        }
        known.mine = intent.token;
        return call_sbatch(*submit);
    }

    Result<void> call_sbatch(const SubmitRequest &submit) {
        const SubmitAnswer answer = world.scheduler.submit(submit);
        if (const auto *job = std::get_if<Submitted>(&answer)) {
            // Published, not written: the claimant may have been faster, and its word counts.
            const JobFile record{job->id, 0, ""};
            auto written = publish_record_file(world.files, file("job.json"), record);
            return written ? Result<void>{} : Result<void>{written.error()};
        }
        if (const auto *no = std::get_if<Rejected>(&answer))
            return world.files.write(file("rejected." + known.mine), no->text);
        known.sbatch_said = std::get<SubmitUnknown>(answer).why;
        world.tell(request.no, "sbatch_unclear", known.sbatch_said);
        return {}; // the next steps look for it by name
    }

    Result<void> operator()(const LookForJob &) {
        auto found = world.scheduler.find({job_name(paths.run, request.no)});
        if (!found) {
            known.answered_since.reset();
            known.silent_since = known.silent_since.value_or(world.clock.now());
            world.clock.sleep_for(limits.poll);
            return {};
        }
        known.jobs = std::move(*found);
        known.silent_since.reset();
        known.answered_since = known.answered_since.value_or(world.clock.now());
        return {};
    }

    Result<void> operator()(const WaitFor &wait) {
        world.clock.sleep_for(wait.duration);
        known.jobs.reset();
        return {};
    }

    Result<void> operator()(const MakeDone &) { return {}; }
};

} // namespace

Result<MadeAttempt> make_attempt(World &world, const RunPaths &paths, const MakeRequest &request,
                                 const ProtocolLimits &limits) {
    // Who makes the folder does not matter: intents decide who may call sbatch.
    if (auto made = world.files.make_dir(paths.attempt(request.no)); !made)
        return made.error();
    if (auto made = world.files.make_dir(paths.attempt_file(request.no, "logs")); !made)
        return made.error();
    Maker maker{world, paths, request, limits};
    maker.known.started = world.clock.now();
    for (;;) {
        auto attempt = look_at_attempt(world.files, paths, request.no);
        if (!attempt)
            return attempt.error();
        if (attempt->intents.size() != maker.known.intents_seen) { // a new intent: its own horizon
            maker.known.intents_seen = attempt->intents.size();
            maker.known.answered_since.reset();
            maker.known.jobs.reset();
        }
        MakeStep step = next_make_step(*attempt, maker.known, limits, world.clock.now());
        if (auto *done = std::get_if<MakeDone>(&step))
            return done->made;
        if (auto carried_out = std::visit(maker, step); !carried_out)
            return carried_out.error();
    }
}

} // namespace trainctl
