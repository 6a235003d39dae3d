#include "recovery/reconcile.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

const char *to_string(RunState state) {
    constexpr std::array names{"starting", "pending", "running", "finished", "failed", "stopped", "unknown"};
    return names.at(static_cast<std::size_t>(state));
}

namespace {

RunState state_of(EndKind kind) {
    switch (kind) {
    case EndKind::finished: return RunState::finished;
    case EndKind::failed: return RunState::failed;
    case EndKind::stopped: return RunState::stopped;
    }
    INVARIANT(false);
}

struct Jobs {
    std::vector<JobSighting> all;

    std::vector<JobId> pending_ids() const {
        std::vector<JobId> ids;
        for (const auto &job : all)
            if (job.phase == JobPhase::pending)
                ids.push_back(job.id);
        return ids;
    }
    bool any(JobPhase phase) const {
        return std::any_of(all.begin(), all.end(), [&](const auto &job) { return job.phase == phase && !is_ghost(job); });
    }
    // The newest real job of this name; the owner's where the attempt has one.
    std::optional<JobSighting> of(const AttemptView &attempt, const std::string &name) const {
        std::optional<JobSighting> best;
        for (const auto &job : all) {
            if (job.name != name || is_ghost(job))
                continue;
            if (const auto owner = attempt.owner(); owner && owner->id == job.id)
                return job;
            if (!best || job.id > best->id)
                best = job;
        }
        return best;
    }
};

// Whether the run has ended is looked at anew: a `resume` may have brought new ones since.
Result<void> remove_secrets(Files &files, const RunPaths &paths) {
    auto ended = files.read(paths.file("ended.json"));
    if (!ended)
        return ended.error();
    return *ended ? files.remove(paths.file("secrets.json")) : Result<void>{};
}

class Reconciler {
public:
    Reconciler(World &world, const RunPaths &paths, const ReconcileRequest &request)
        : world_(world), paths_(paths), request_(request) {}

    Result<Reconciled> run() {
        if (auto seen = observe(); !seen)
            return seen.error();
        if (result_.run.ended)
            return after_end();
        if (blind_)
            return done(RunState::unknown, blind_->text());
        if (jobs_.any(JobPhase::running))
            return done(RunState::running, "");
        if (jobs_.any(JobPhase::pending) || jobs_.any(JobPhase::unknown))
            return pending();
        if (!request_.act)
            return done(RunState::starting, "no job of this run is in the queue");
        return nothing_lives();
    }

private:
    Result<void> observe() {
        blind_.reset();
        auto view = look_at_run(world_.files, paths_);
        if (!view)
            return view.error();
        result_.run = std::move(*view);
        const auto names = recent_job_names(result_.run, paths_.run);
        jobs_.all.clear();
        if (names.empty())
            return {};
        auto found = world_.scheduler.find(names);
        if (found)
            jobs_.all = std::move(found->jobs);
        else
            blind_ = found.error();
        result_.jobs = jobs_.all;
        return {};
    }

    Result<Reconciled> done(RunState state, std::string text) {
        result_.state = state;
        result_.text = std::move(text);
        return std::move(result_);
    }

    Result<Reconciled> after_end() {
        if (request_.act) // who ended it may have died in between
            if (auto removed = remove_secrets(world_.files, paths_); !removed)
                return removed.error();
        if (const auto ids = jobs_.pending_ids(); request_.act && !ids.empty())
            if (auto cancelled = world_.scheduler.cancel(ids); !cancelled)
                return cancelled.error();
        return done(state_of(result_.run.ended->kind), result_.run.ended->why);
    }

    Result<Reconciled> pending() {
        if (request_.act && result_.run.stop_wished)
            if (auto cancelled = world_.scheduler.cancel(jobs_.pending_ids()); !cancelled)
                return cancelled.error();
        return done(RunState::pending, "");
    }

    // No job is pending or running. Is that certain, and what now?
    Result<Reconciled> nothing_lives() {
        const AttemptView *last = result_.run.last();
        if (last == nullptr)
            return result_.run.stop_wished ? stop_it() : make(AttemptNo{1}, {});
        if (last->owner() && !last->outcome && !jobs_.of(*last, name(*last))) {
            auto quiet = is_quiet(*last);
            if (!quiet)
                return quiet.error();
            if (!*quiet)
                return done(RunState::running, "Slurm does not list the job, but its head still beats");
            last = result_.run.last();
        }
        const bool had_job = last->job || jobs_.of(*last, name(*last));
        if (!last->owner() && !last->sealed() && !had_job && !last->verdict)
            return result_.run.stop_wished ? stop_it() : make(last->no, last_exclusions());
        return judge_and_go_on();
    }

    // Slurm has forgotten a job of which no end is known: silence for a lease, and a second answer, prove it.
    Result<bool> is_quiet(const AttemptView &attempt) {
        const auto before = attempt.beat;
        const AttemptNo no = attempt.no;
        world_.clock.sleep_for(request_.limits.lease + request_.limits.margin);
        if (auto seen = observe(); !seen)
            return seen.error();
        const auto *now = result_.run.find(no);
        if (blind_ || now == nullptr || jobs_.any(JobPhase::running) || jobs_.any(JobPhase::pending))
            return false;
        return now->beat == before;
    }

    Result<Reconciled> judge_and_go_on() {
        for (auto &attempt : result_.run.attempts) {
            const bool had_job = attempt.owner() || attempt.job || jobs_.of(attempt, name(attempt));
            if (attempt.verdict || !had_job)
                continue;
            attempt.verdict = judge(attempt, jobs_.of(attempt, name(attempt)), request_.own_uid);
            if (auto written = write_verdict(world_, paths_, attempt.no, *attempt.verdict); !written)
                return written.error();
        }
        const NextStep next = decide_next(request_.recovery, result_.run);
        if (const auto *end = std::get_if<EndRun>(&next)) {
            if (auto ended = end_run(world_, paths_, Ended{end->kind, end->why, result_.run.last()->no, 0}); !ended)
                return ended.error();
            return done(state_of(end->kind), end->why);
        }
        return make(result_.run.last()->no.next(), std::get<GoOn>(next).exclude_nodes);
    }

    Result<Reconciled> stop_it() {
        const AttemptNo no = result_.run.last() != nullptr ? result_.run.last()->no : AttemptNo{1};
        if (auto ended = end_run(world_, paths_, Ended{EndKind::stopped, cause::stopped, no, 0}); !ended)
            return ended.error();
        return done(RunState::stopped, cause::stopped);
    }

    Result<Reconciled> make(AttemptNo no, std::vector<std::string> exclude) {
        const MakeRequest wanted{no, std::nullopt, std::move(exclude), request_.prepare};
        auto made = make_attempt(world_, paths_, wanted, request_.limits);
        if (!made)
            return made.error();
        switch (made->kind) {
        case MadeKind::live: return done(RunState::pending, fmt::format("attempt {} is job {}", no.value, to_string(*made->job)));
        case MadeKind::over: return done(RunState::starting, fmt::format("attempt {} came and went", no.value));
        case MadeKind::rejected: return done(RunState::starting, fmt::format("sbatch refused attempt {}: {}", no.value, made->text));
        case MadeKind::unclear: return done(RunState::unknown, made->text);
        }
        INVARIANT(false);
    }

    std::string name(const AttemptView &attempt) const { return job_name(paths_.run, attempt.no); }
    std::vector<std::string> last_exclusions() const {
        const auto *last = result_.run.last();
        return last != nullptr && !last->intents.empty() ? last->intents.back().exclude_nodes : std::vector<std::string>{};
    }

    World &world_;
    const RunPaths &paths_;
    const ReconcileRequest &request_;
    Reconciled result_;
    Jobs jobs_;
    std::optional<Error> blind_;
};

} // namespace

std::vector<std::string> recent_job_names(const RunView &run, const RunId &id) {
    constexpr std::size_t most = 4; // the active one, its standby, and two that a late answer may be about
    std::vector<std::string> names;
    for (auto attempt = run.attempts.rbegin(); attempt != run.attempts.rend() && names.size() < most; ++attempt)
        names.push_back(job_name(id, attempt->no));
    return names;
}

Result<void> write_verdict(World &world, const RunPaths &paths, AttemptNo no, Verdict verdict) {
    verdict.written = unix_seconds(world.clock.wall());
    verdict.by = world.who;
    const auto path = paths.attempt_file(no, "verdict.json");
    auto written = publish_record_file(world.files, path, verdict);
    if (!written)
        return written.error();
    if (*written)
        return {};
    auto there = world.files.read(path);
    if (!there)
        return there.error();
    if (*there && !parse_json(**there, path)) // it decides nothing as it is
        return write_record_file(world.files, path, verdict);
    return {};
}

Result<void> end_run(World &world, const RunPaths &paths, const Ended &ended) {
    Ended record = ended;
    record.when = unix_seconds(world.clock.wall());
    if (auto written = publish_record_file(world.files, paths.file("ended.json"), record); !written)
        return written.error();
    return remove_secrets(world.files, paths);
}

Result<Reconciled> reconcile(World &world, const RunPaths &paths, const ReconcileRequest &request) {
    return Reconciler{world, paths, request}.run();
}

} // namespace trainctl
