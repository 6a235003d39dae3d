#include "desk/desk.h"
#include "recovery/policy.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration poll = 500ms;
constexpr Duration ending_time = 90s; // KillWait (30 s by default), the epilog, and a slow controller

// A job that squeue lists in words that we don't know may train. What only accounting still has as running, squeue has
// forgotten: nobody can cancel it, and a head that lives sees the wish.
bool may_train(const JobSighting &job) { return is_live(job) || (job.phase == JobPhase::unknown && job.evidence != "sacct"); }

struct Stopper {
    DeskCall &call;
    const RunPaths &paths;
    bool save; // stop; else cancel
    AttemptNo last;
    std::vector<std::uint64_t> told = {}; // jobs that were asked to end

    Result<std::vector<JobSighting>> live_jobs() const {
        auto view = look_at_run(call.files, paths);
        if (!view)
            return view.error();
        const auto names = recent_job_names(*view, paths.run);
        if (names.empty())
            return std::vector<JobSighting>{};
        auto found = call.scheduler.find(names);
        if (!found)
            return found.error();
        std::erase_if(found->jobs, [](const JobSighting &job) { return !may_train(job); });
        return std::move(found->jobs);
    }

    Result<void> cancel(const std::vector<JobId> &jobs) {
        if (jobs.empty())
            return {};
        std::string text;
        for (const auto &job : jobs)
            text += (text.empty() ? "" : ", ") + to_string(job);
        auto cancelled = call.scheduler.cancel(jobs);
        if (cancelled)
            call.note(paths, last, "jobs_cancelled", text);
        return cancelled;
    }

    // Pending ones first: the end of the active one would start them.
    Result<void> end_jobs(const std::vector<JobSighting> &jobs) {
        std::vector<JobId> to_cancel;
        for (const auto &job : jobs)
            if (job.phase == JobPhase::pending)
                to_cancel.push_back(job.id);
        if (auto cancelled = cancel(to_cancel); !cancelled)
            return cancelled;
        std::vector<JobId> running;
        for (const auto &job : jobs)
            if (job.phase != JobPhase::pending && job.state != "COMPLETING" && std::find(told.begin(), told.end(), job.id.value) == told.end())
                running.push_back(job.id);
        for (const auto &id : running)
            told.push_back(id.value);
        if (running.empty())
            return {};
        if (!save)
            return cancel(running);
        // The doorbell: the head looks at control/stop now and not at its next poll. A bell that fails is no harm.
        for (const auto &id : running)
            if (auto rung = call.scheduler.signal_batch(id, "USR2"); !rung)
                call.say({{"progress", "the head could not be rung, it will look by itself: " + rung.error().message}});
        return {};
    }
};

std::string describe(const std::vector<JobSighting> &jobs) {
    std::string text;
    for (const auto &job : jobs)
        text += fmt::format("{}job {} ({})", text.empty() ? "waiting for " : ", ", to_string(job.id), job.state);
    return text;
}

} // namespace

Result<Json> desk_stop(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    auto run = load_run(call.files, *paths);
    auto view = look_at_run(call.files, *paths);
    if (!run || !view)
        return run ? view.error() : run.error();
    if (view->ended)
        return status_of(call, *paths, true);

    Stopper stopper{call, *paths, call.text("verb") == "stop", view->last() != nullptr ? view->last()->no : AttemptNo{1}};
    const Json wish{{"by", call.who}, {"when", unix_seconds(call.clock.wall())}, {"save", stopper.save}};
    if (auto written = write_wish(call, *paths, {"stop", wish}); !written)
        return written.error();
    call.note(*paths, stopper.last, stopper.save ? "stop_wished" : "cancel_wished", "");

    const Duration limit = ending_time + (stopper.save ? Duration{run->experiment.checkpoint.save_time} : 0s);
    const Instant deadline = call.clock.now() + limit;
    std::string said;
    for (;;) {
        auto jobs = stopper.live_jobs();
        if (!jobs)
            return jobs.error();
        if (jobs->empty())
            break;
        if (auto text = describe(*jobs); text != said)
            call.say({{"progress", said = text}});
        if (auto done = stopper.end_jobs(*jobs); !done)
            return done.error();
        if (call.clock.now() >= deadline)
            return status_of(call, *paths, false); // still there: the answer says so, and the wish stays
        call.clock.sleep_for(poll);
    }
    const auto end = end_by_wish(stopper.save ? EndWish::stop : EndWish::cancel);
    World world = call.world(*paths);
    if (auto ended = end_run(world, *paths, Ended{end.kind, end.why, stopper.last, 0}); !ended)
        return ended.error();
    return status_of(call, *paths, true);
}

} // namespace trainctl
