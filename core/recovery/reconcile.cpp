#include "recovery/reconcile.h"

#include "base/text.h"
#include "recovery/node_memory.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>

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
    // The owner's job where somebody claimed the attempt, a later life of it included; else the newest real one of this name.
    std::optional<JobSighting> of(const AttemptView &attempt, const std::string &name) const {
        const auto owner = attempt.owner();
        std::optional<JobSighting> best;
        for (const auto &job : all) {
            if (job.name != name || is_ghost(job) || (owner && owner->id != job.id))
                continue;
            if (owner && is_owners_job(attempt, job))
                return job;
            if (!best || job.id > best->id)
                best = job;
        }
        return best;
    }
    const JobSighting *first(JobPhase phase) const {
        const auto at = std::find_if(all.begin(), all.end(), [&](const auto &job) { return job.phase == phase && !is_ghost(job); });
        return at == all.end() ? nullptr : &*at;
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
        Instant watched = world_.clock.now();
        std::map<AttemptNo, std::uint64_t> beats;
        for (;;) {
            if (auto seen = observe(); !seen)
                return seen.error();
            if (auto shown = what_slurm_shows())
                return std::move(*shown);
            const auto unlisted = unlisted_owners();
            if (!request_.act)
                return unlisted.empty() ? done(RunState::starting, "no job of this run is in the queue")
                                        : done(RunState::unknown, not_listed(*unlisted.front()));
            for (const auto *attempt : unlisted) {
                const auto [seen, first] = beats.emplace(attempt->no, attempt->beat);
                if (first)
                    watched = world_.clock.now();
                else if (seen->second != attempt->beat)
                    return done(RunState::running, not_listed(*attempt) + ", but its head still beats");
            }
            // An empty answer is no evidence: another cluster's, or of a controller that lost its state. Silence for a lease
            // is, of every attempt that somebody trains as.
            const auto &limits = request_.limits;
            const Duration wait = !unlisted.empty() ? limits.lease + limits.margin : nobody_said_who() ? limits.accounting_patience : Duration::zero();
            const Duration waited = world_.clock.now() - watched;
            if (waited >= wait)
                return nothing_lives();
            world_.clock.sleep_for(unlisted.empty() ? std::min(limits.poll, wait - waited) : wait - waited);
        }
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
        if (found) {
            jobs_.all = std::move(found->jobs);
            accounting_ = found->accounting;
        } else {
            blind_ = found.error();
        }
        result_.jobs = jobs_.all;
        return {};
    }

    // Nothing where no job is listed that lives or may live.
    std::optional<Result<Reconciled>> what_slurm_shows() {
        if (result_.run.ended)
            return after_end();
        if (blind_)
            return done(RunState::unknown, blind_->text());
        if (jobs_.first(JobPhase::running) != nullptr)
            return done(RunState::running, "");
        const auto *strange = jobs_.first(JobPhase::unknown);
        if (strange == nullptr && jobs_.first(JobPhase::pending) == nullptr)
            return std::nullopt;
        if (request_.act && result_.run.stop_wished())
            if (auto cancelled = world_.scheduler.cancel(jobs_.pending_ids()); !cancelled)
                return cancelled.error();
        if (strange == nullptr)
            return request_.act ? behind_a_standby() : done(RunState::pending, "");
        return done(RunState::unknown, fmt::format("Slurm says {} of job {}, and trainctl does not know that word", strange->state, to_string(strange->id)));
    }

    // An attempt that ended while its standby waits is judged now: within minutes Slurm may have forgotten who cancelled it.
    Result<Reconciled> behind_a_standby() {
        if (result_.run.stop_wished()) // who wished it ends it
            return done(RunState::pending, "");
        for (auto &attempt : result_.run.attempts) {
            const auto job = jobs_.of(attempt, name(attempt));
            if (attempt.verdict || !attempt.owner() || !job || job->phase != JobPhase::ended || (accounting_ && verdict_waits_for_who(attempt, *job)))
                continue;
            if (auto judged = judge_now(attempt); !judged)
                return judged.error();
        }
        const NextStep next = decide_next(request_.recovery, result_.run);
        const auto *end = std::get_if<EndRun>(&next);
        if (end == nullptr || end->kind != EndKind::stopped)
            return done(RunState::pending, "");
        if (auto over = end_it(*end); !over || !*over)
            return over ? claimed_meanwhile() : Result<Reconciled>{over.error()};
        if (auto cancelled = world_.scheduler.cancel(jobs_.pending_ids()); !cancelled)
            return cancelled.error();
        return done(state_of(end->kind), end->why);
    }

    // False: somebody claimed an attempt just now.
    Result<bool> end_it(const EndRun &end) {
        if (auto closed = close_and_let_die(); !closed || !*closed)
            return closed;
        auto ended = end_run(world_, paths_, Ended{end.kind, end.why, result_.run.last()->no, 0});
        return ended ? Result<bool>{true} : Result<bool>{ended.error()};
    }

    // Slurm's word that a job ended is none of what lives on a node that Slurm does not reach. No ranks start after a run's end,
    // so an attempt whose head left no word is closed, and has a lease to notice.
    Result<bool> close_and_let_die() {
        bool waits = false;
        for (const auto &attempt : result_.run.attempts) {
            if (!attempt.owner() || attempt.sealed() || (attempt.outcome && attempt.outcome->ranks_dead))
                continue;
            const Claim seal{JobId{}, 0, "", world_.who, unix_seconds(world_.clock.wall())};
            const auto sealed = publish_record_file(world_.files, paths_.attempt_file(attempt.no, claim_slot(attempt.claims.size())), seal);
            if (!sealed || !*sealed)
                return sealed;
            waits = true;
        }
        if (waits)
            world_.clock.sleep_for(request_.limits.lease + request_.limits.margin);
        return true;
    }

    Result<Reconciled> claimed_meanwhile() { return done(RunState::starting, "an attempt was claimed just now"); }

    Result<void> judge_now(AttemptView &attempt) {
        auto verdict = judge_anew(world_, paths_, attempt, jobs_.of(attempt, name(attempt)), request_.own_uid);
        if (!verdict)
            return verdict.error();
        attempt.verdict = *verdict;
        return write_verdict(world_, paths_, attempt.no, *attempt.verdict);
    }

    // Attempts that somebody trains as, as far as the run directory tells, and whose job is not there.
    std::vector<const AttemptView *> unlisted_owners() const {
        std::vector<const AttemptView *> out;
        for (const auto &attempt : result_.run.attempts)
            if (attempt.owner() && !attempt.sealed() && !attempt.outcome && !attempt.verdict && !jobs_.of(attempt, name(attempt)))
                out.push_back(&attempt);
        return out;
    }

    static std::string not_listed(const AttemptView &attempt) { return "Slurm does not list the job of attempt " + std::to_string(attempt.no.value); }

    bool nobody_said_who() const {
        return accounting_ && std::any_of(result_.run.attempts.begin(), result_.run.attempts.end(), [&](const AttemptView &attempt) {
            const auto job = jobs_.of(attempt, name(attempt));
            return !attempt.verdict && job && verdict_waits_for_who(attempt, *job);
        });
    }

    Result<Reconciled> done(RunState state, std::string text) {
        result_.state = state;
        result_.text = std::move(text);
        if (state == RunState::unknown)
            for (const auto &attempt : result_.run.attempts)
                if (const auto last = attempt.last_known(); last > result_.unknown_since.value_or(0))
                    result_.unknown_since = last;
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

    // Every attempt that had a job is judged, then the run's history decides.
    Result<Reconciled> nothing_lives() {
        for (auto &attempt : result_.run.attempts) {
            if (attempt.verdict || !had_job(attempt))
                continue;
            if (auto judged = judge_now(attempt); !judged)
                return judged.error();
        }
        const AttemptView *last = result_.run.last();
        if (last == nullptr)
            return result_.run.stop_wished() ? stop_it() : make(AttemptNo{1}, {});
        const NextStep next = decide_next(request_.recovery, result_.run);
        if (const auto *end = std::get_if<EndRun>(&next)) {
            if (auto over = end_it(*end); !over || !*over)
                return over ? claimed_meanwhile() : Result<Reconciled>{over.error()};
            return done(state_of(end->kind), end->why);
        }
        // One that was refused, or whose submission nobody finished, is made now.
        const bool never_made = !had_job(*last) && !last->sealed() && !last->verdict;
        return make(never_made ? last->no : last->no.next(), std::get<GoOn>(next).exclude_nodes);
    }

    bool had_job(const AttemptView &attempt) const { return attempt.owner() || attempt.job || jobs_.of(attempt, name(attempt)); }

    Result<Reconciled> stop_it() {
        const AttemptNo no = result_.run.last() != nullptr ? result_.run.last()->no : AttemptNo{1};
        const auto end = end_by_wish(result_.run.end_wish);
        if (auto ended = end_run(world_, paths_, Ended{end.kind, end.why, no, 0}); !ended)
            return ended.error();
        return done(state_of(end.kind), end.why);
    }

    Result<Reconciled> make(AttemptNo no, std::vector<std::string> exclude) {
        const MakeRequest wanted{no, std::nullopt, std::move(exclude), request_.prepare};
        auto made = make_avoiding(world_, paths_, wanted, request_.limits);
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

    World &world_;
    const RunPaths &paths_;
    const ReconcileRequest &request_;
    Reconciled result_;
    Jobs jobs_;
    bool accounting_ = false;
    std::optional<Error> blind_;
};

} // namespace

Result<MadeAttempt> make_avoiding(World &world, const RunPaths &paths, MakeRequest request, const ProtocolLimits &limits) {
    // What other runs found out; where that can't be read, it is found out once more.
    if (const auto notes = remembered_nodes(world.files, paths.root, unix_seconds(world.clock.wall())))
        for (const auto &node : nodes_to_avoid(*notes, limits.most_doubted_nodes))
            if (std::find(request.exclude_nodes.begin(), request.exclude_nodes.end(), node) == request.exclude_nodes.end())
                request.exclude_nodes.push_back(node);
    auto made = make_attempt(world, paths, request, limits);
    if (!made || made->kind != MadeKind::rejected || request.exclude_nodes.empty())
        return made;
    world.tell(request.no, "nodes_not_avoided", "refused without " + join(request.exclude_nodes, ", ") + ": " + made->text);
    request.exclude_nodes.clear();
    return make_attempt(world, paths, request, limits);
}

std::vector<std::string> recent_job_names(const RunView &run, const RunId &id) {
    constexpr std::size_t most = 4; // the active one, its standby, and two that a late answer may be about
    std::vector<std::string> names;
    for (auto attempt = run.attempts.rbegin(); attempt != run.attempts.rend() && names.size() < most; ++attempt)
        names.push_back(job_name(id, attempt->no));
    return names;
}

Result<Verdict> judge_anew(World &world, const RunPaths &paths, const AttemptView &attempt, const std::optional<JobSighting> &job, std::uint32_t own_uid) {
    if (!job || job->state != "CANCELLED" || !verdict_needs_slurm(attempt))
        return judge(attempt, job, own_uid);
    // A change of our own makes an NFS client look at the folder anew.
    if (auto written = world.files.write(paths.attempt_file(attempt.no, "judged"), "Slurm says CANCELLED\n"); !written)
        return written.error();
    const auto fresh = look_at_attempt(world.files, paths, attempt.no);
    return fresh ? Result<Verdict>{judge(*fresh, job, own_uid)} : Result<Verdict>{fresh.error()};
}

Result<void> write_verdict(World &world, const RunPaths &paths, AttemptNo no, Verdict verdict) {
    verdict.written = unix_seconds(world.clock.wall());
    verdict.by = world.who;
    const auto path = paths.attempt_file(no, "verdict.json");
    auto written = publish_record_file(world.files, path, verdict);
    if (!written)
        return written.error();
    if (*written) {
        world.tell(no, "verdict", fmt::format("attempt {}: {}", to_string(no), verdict.text));
        return {};
    }
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
    auto written = publish_record_file(world.files, paths.file("ended.json"), record);
    if (!written)
        return written.error();
    if (*written)
        world.tell(ended.attempt, "run_ended", fmt::format("{}: {}", to_string(ended.kind), ended.why));
    return remove_secrets(world.files, paths);
}

Result<Reconciled> reconcile(World &world, const RunPaths &paths, const ReconcileRequest &request) {
    return Reconciler{world, paths, request}.run();
}

} // namespace trainctl
