#include "recovery/attempt.h"

#include "recovery/policy.h"
#include "recovery/reconcile.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

// Beside training, so it shares nothing with Life. True where the attempt came and went: the one after it is next.
bool make_next(World &world, const AttemptJob &job, const MakeRequest &request) {
    auto made = make_avoiding(world, job.paths, request, job.limits);
    const auto name = "attempt " + to_string(request.no);
    if (!made)
        job.journal("standby_failed", made.error().text());
    else if (made->kind == MadeKind::rejected || made->kind == MadeKind::unclear)
        job.journal("standby_failed", made->text);
    else if (made->kind == MadeKind::over)
        job.journal("standby_over", name + (made->text.empty() ? "" : ": " + made->text));
    else
        job.journal("standby_made", made->job ? name + " is job " + to_string(*made->job) : name);
    return made && made->kind == MadeKind::over;
}

class Life : public std::enable_shared_from_this<Life> {
public:
    Life(World &world, const AttemptJob &job) : world_(world), job_(job) {}

    int run(const Train &train) {
        auto claimed = insist("claim", [&] { return claim_attempt(world_, job_.paths, job_.me, job_.limits); });
        if (!claimed)
            return trouble("claim", claimed.error());
        if (!claimed->empty())
            return leave(*claimed);
        note("claimed", "job " + to_string(job_.me.job) + " on " + job_.nodes);
        tidy_up_namesakes();
        if (auto judged = insist("judge", [&] { return judge_predecessors(); }); !judged)
            return trouble("judge", judged.error());
        auto run = insist("look", [&] { return look_at_run(world_.files, job_.paths); });
        if (!run)
            return trouble("look", run.error());
        if (const auto end = end_before_training(*run))
            return end_here(*end);
        // The first beat is also the last check before ranks exist.
        Instant checked{};
        auto ours = insist("beat", [&] {
            checked = world_.clock.now();
            return beat(ProgressFile{});
        });
        if (!ours || !*ours)
            return ours ? leave("the attempt was closed before it began") : trouble("beat", ours.error());
        const auto avoided = avoided_nodes(*run);
        exclude_.assign(avoided.begin(), avoided.end());
        if (job_.standby)
            job_.in_background([&world = world_, &job = job_, request = next_request(job_.me.job)] { make_next(world, job, request); });
        return finish(train(hooks(checked)));
    }

private:
    TrainHooks hooks(Instant checked) {
        return {checked,
                [self = shared_from_this()](const ProgressFile &progress) { return self->beat(progress); },
                [self = shared_from_this()] { return self->wished("stop") ? end_wish(self->world_.files, self->job_.paths) : EndWish::none; },
                [self = shared_from_this()] {
                    return self->wished("checkpoint-now") && self->world_.files.remove(self->job_.paths.wish("checkpoint-now")).ok();
                }};
    }

    bool wished(const std::string &name) {
        auto wishes = world_.files.list(job_.paths.file("control"));
        return wishes && std::find(wishes->begin(), wishes->end(), name) != wishes->end();
    }

    Result<bool> beat(const ProgressFile &progress) {
        ProgressFile record = progress;
        record.beat = ++beats_;
        record.written = unix_seconds(world_.clock.wall());
        if (auto written = write_record_file(world_.files, file("progress.json"), record); !written)
            return written.error();
        return still_claimed(world_.files, job_.paths, job_.me);
    }

    int leave(const std::string &why) {
        note("left", why);
        // A later start of this job, after a requeue, has the same id: then there is nothing of ours to cancel.
        auto claims = read_claims(world_.files, job_.paths, job_.me.no);
        if (!claims || std::any_of(claims->begin(), claims->end(), [&](const Claim &claim) { return claim.id == job_.me.job; }))
            return exit_go_on;
        // Nobody ever claimed it: closed, so that this cancellation is not read as the user's wish to stop.
        if (claims->empty()) {
            const Claim seal{JobId{}, 0, job_.me.host, world_.who, unix_seconds(world_.clock.wall())};
            if (auto sealed = publish_record_file(world_.files, file(claim_slot(0)), seal); !sealed)
                note("error", sealed.error().text());
        }
        // Ends as CANCELLED and not as COMPLETED: it did no work. Failing to say so harms nothing.
        if (auto cancelled = world_.scheduler.cancel({job_.me.job}); !cancelled)
            note("cancel_failed", cancelled.error().text());
        return exit_left;
    }

    // A full disk or a server that restarts is no reason to end: at three in the morning nobody would go on from here.
    template <class What> auto insist(const char *what, What attempt) -> decltype(attempt()) {
        const Instant end = world_.clock.now() + job_.limits.disk_patience;
        for (bool said = false;; said = true) {
            auto result = attempt();
            if (result || world_.clock.now() >= end)
                return result;
            if (result.error().kind == ErrorKind::no_space && !world_.files.remove(job_.paths.reserve()))
                note("error", "the reserve could not be given up");
            if (!said)
                note("trying_again", std::string{what} + ": " + result.error().text());
            world_.clock.sleep_for(job_.limits.poll);
        }
    }

    int trouble(const char *what, const Error &error) {
        note("error", std::string{what} + ": " + error.text());
        return exit_go_on;
    }

    void tidy_up_namesakes() {
        auto found = world_.scheduler.find({job_name(job_.paths.run, job_.me.no)});
        JobFile record{job_.me.job, 0, job_.nodes};
        std::vector<JobId> others;
        for (const auto &job : found ? found->jobs : std::vector<JobSighting>{}) {
            if (job.id == job_.me.job && job.submitted)
                record.submitted = unix_seconds(*job.submitted);
            else if (job.id != job_.me.job && is_live(job))
                others.push_back(job.id);
        }
        if (auto written = write_record_file(world_.files, file("job.json"), record); !written)
            note("error", written.error().text());
        if (!others.empty())
            if (auto cancelled = world_.scheduler.cancel(others); !cancelled)
                note("cancel_failed", cancelled.error().text());
    }

    // Slurm's final word on an attempt, as far as it can be had in time: that it ended, and by whom.
    std::optional<JobSighting> final_sighting(const AttemptView &attempt) {
        const Instant begun = world_.clock.now();
        std::optional<JobSighting> best;
        for (;;) {
            Duration patience = job_.limits.blind_patience;
            if (auto found = world_.scheduler.find({job_name(job_.paths.run, attempt.no)})) {
                for (const auto &job : found->jobs)
                    if (attempt.owner() && job.id == attempt.owner()->id)
                        best = job;
                if (!best || (best->phase == JobPhase::ended && !(found->accounting && verdict_waits_for_who(attempt, *best))))
                    return best;
                if (best->phase == JobPhase::ended)
                    patience = job_.limits.accounting_patience;
            }
            if (world_.clock.now() - begun >= patience)
                return best;
            world_.clock.sleep_for(job_.limits.poll / 4); // COMPLETING is over soon
        }
    }

    Result<void> judge_predecessors() {
        auto run = look_at_run(world_.files, job_.paths);
        if (!run)
            return run.error();
        for (const auto &attempt : run->attempts) {
            if (attempt.no >= job_.me.no || attempt.verdict || !attempt.owner())
                continue;
            std::optional<JobSighting> job;
            if (verdict_needs_slurm(attempt))
                job = final_sighting(attempt);
            const auto verdict = judge_anew(world_, job_.paths, attempt, job, job_.own_uid);
            if (!verdict)
                return verdict.error();
            if (auto written = write_verdict(world_, job_.paths, attempt.no, *verdict); !written)
                return written.error();
        }
        return {};
    }

    // The run's history up to this attempt says stop, or somebody does.
    std::optional<EndRun> end_before_training(const RunView &run) {
        RunView before = run;
        before.attempts.resize(static_cast<std::size_t>(job_.me.no.value - 1));
        if (run.stop_wished() || run.ended)
            return end_by_wish(run.end_wish);
        if (before.attempts.empty() || before.last()->no <= run.forgiven)
            return std::nullopt;
        const NextStep next = decide_next(job_.recovery, before);
        if (const auto *end = std::get_if<EndRun>(&next))
            return *end;
        return std::nullopt;
    }

    int end_here(const EndRun &end) {
        Outcome outcome;
        outcome.kind = OutcomeKind::stopped;
        outcome.text = "did not train: " + end.why;
        outcome.exit_code = exit_go_on;
        return close_run(end, outcome);
    }

    // ended.json, then the outcome, then the standby: a death in between leaves what the next one needs. An end that can't
    // be written is none: the standby stays, and begins after this job.
    int close_run(const EndRun &end, const Outcome &outcome) {
        auto ended = insist("end", [&] { return end_run(world_, job_.paths, Ended{end.kind, end.why, job_.me.no, 0}); });
        write_outcome(outcome);
        if (!ended)
            return trouble("end", ended.error());
        cancel_standby();
        return outcome.exit_code;
    }

    int finish(const Outcome &outcome) {
        note("training_ended", std::string{to_string(outcome.kind)} + ": " + outcome.text);
        auto run = insist("look", [&] { return look_at_run(world_.files, job_.paths); });
        auto ours = insist("look", [&] { return still_claimed(world_.files, job_.paths, job_.me); });
        if (!run || !ours || !*ours) // somebody else goes on from here: this head changes nothing any more
            return outcome.exit_code == 0 ? exit_go_on : outcome.exit_code;
        auto &mine = run->attempts.at(static_cast<std::size_t>(job_.me.no.value - 1));
        mine.outcome = outcome;
        if (!verdict_needs_slurm(mine)) {
            run->attempts.resize(static_cast<std::size_t>(job_.me.no.value)); // not the standby, which never ran
            const NextStep next = decide_next(job_.recovery, *run);
            if (const auto *end = std::get_if<EndRun>(&next))
                return close_run(*end, outcome);
        }
        write_outcome(outcome);
        exclude_.insert(exclude_.end(), outcome.suspect_nodes.begin(), outcome.suspect_nodes.end());
        // A scancel looks like a time limit from here: only a successor that waits for our end may decide.
        const bool must_wait = outcome.kind == OutcomeKind::terminated;
        if (!must_wait || !run->stop_wished())
            hand_over(must_wait ? std::optional{job_.me.job} : std::nullopt, !outcome.suspect_nodes.empty());
        return outcome.exit_code == 0 ? exit_go_on : outcome.exit_code;
    }

    void write_outcome(Outcome outcome) {
        outcome.written = unix_seconds(world_.clock.wall());
        outcome.job = job_.me.job;
        outcome.restarts = job_.me.restarts;
        if (auto written = insist("outcome", [&] { return write_record_file(world_.files, file("outcome.json"), outcome); }); !written)
            note("error", written.error().text());
    }

    MakeRequest next_request(std::optional<JobId> after) const {
        return {job_.me.no.next(), after, exclude_, job_.prepare};
    }

    std::optional<JobSighting> standby_job() {
        auto found = world_.scheduler.find({job_name(job_.paths.run, job_.me.no.next())});
        if (found)
            for (const auto &job : found->jobs)
                if (is_live(job))
                    return job;
        return std::nullopt;
    }

    // The standby starts by itself when this job ends badly; without one the next attempt is submitted now, `after` this
    // job's end where only that tells whether it is wanted.
    void hand_over(std::optional<JobId> after, bool nodes_changed) {
        const auto standby = standby_job();
        if (!standby) {
            // A standby that was cancelled is over, and so may be what others made in its place.
            constexpr int most_tries = 3;
            auto request = next_request(after);
            for (int tries = 0; tries < most_tries && make_next(world_, job_, request); ++tries)
                request.no = request.no.next();
            return;
        }
        if (!nodes_changed)
            return;
        PendingUpdate update;
        update.exclude_nodes = exclude_;
        if (auto updated = world_.scheduler.update_pending(standby->id, update); !updated)
            note("standby_not_adjusted", updated.error().text());
    }

    void cancel_standby() {
        if (const auto standby = standby_job())
            if (auto cancelled = world_.scheduler.cancel({standby->id}); !cancelled)
                note("cancel_failed", cancelled.error().text());
    }

    std::string file(const std::string &name) const { return job_.paths.attempt_file(job_.me.no, name); }
    void note(const std::string &event, const std::string &text) { job_.journal(event, text); }

    World &world_;
    const AttemptJob &job_;
    std::uint64_t beats_ = 0;
    std::vector<std::string> exclude_;
};

} // namespace

int run_attempt(World &world, const AttemptJob &job, const Train &train) { return std::make_shared<Life>(world, job)->run(train); }

} // namespace trainctl
