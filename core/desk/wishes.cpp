#include "desk/desk.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

Journal read_run_journal(Files &files, const RunPaths &paths) {
    std::map<std::string, std::string> contents;
    const auto folder = paths.file("journal");
    auto names = files.list(folder);
    if (!names)
        return {{}, {names.error().text()}};
    std::vector<std::string> unread;
    for (const auto &name : *names) {
        auto content = files.read(join_path(folder, name));
        if (!content)
            unread.push_back(content.error().text());
        else if (*content)
            contents.emplace(join_path(folder, name), std::move(**content));
    }
    auto journal = read_journals(contents);
    journal.problems.insert(journal.problems.begin(), unread.begin(), unread.end());
    return journal;
}

Result<TrainingNow> training_now(DeskCall &call, const RunPaths &paths) {
    const auto &run = paths.run.value;
    auto view = look_at_run(call.files, paths);
    if (!view)
        return view.error();
    if (view->ended)
        return Error{ErrorKind::refused, fmt::format("the run has ended: {} ({})", to_string(view->ended->kind), view->ended->why), run, "trainctl resume " + run + " goes on with it"};
    if (view->stop_wished())
        return Error{ErrorKind::refused, "the run has been told to stop", run, "trainctl status " + run};
    const AttemptView *last = nullptr;
    for (const auto &attempt : view->attempts)
        if (attempt.owner())
            last = &attempt;
    const auto waits = Error{ErrorKind::refused, "the run does not train now", run, "trainctl status " + run + " says what it waits for"};
    if (last == nullptr || last->outcome)
        return waits;
    auto found = call.scheduler.find({job_name(paths.run, last->no)});
    if (!found)
        return found.error();
    const auto job = last->owner()->id;
    const bool runs = std::any_of(found->jobs.begin(), found->jobs.end(), [&](const JobSighting &seen) { return seen.id == job && seen.phase == JobPhase::running; });
    if (!runs)
        return waits;
    return TrainingNow{last->no, job, last->owner()->host, last->progress};
}

Result<void> write_wish(DeskCall &call, const RunPaths &paths, const Wish &wish) {
    const auto write = [&]() -> Result<void> {
        if (auto made = call.files.make_dirs(paths.file("control")); !made)
            return made;
        return call.files.write(paths.wish(wish.name), dump_json(wish.content) + "\n");
    };
    auto written = write();
    if (!written && written.error().kind == ErrorKind::no_space && call.files.remove(paths.reserve()))
        written = write();
    return written;
}

Result<void> wish_and_ring(DeskCall &call, const RunPaths &paths, JobId job, const Wish &wish) {
    if (auto written = write_wish(call, paths, wish); !written)
        return written;
    // The doorbell: the head looks now and not at its next beat. A bell that fails is no harm.
    if (auto rung = call.scheduler.signal_batch(job, "USR2"); !rung)
        call.say({{"progress", "the head could not be rung, it will look by itself: " + rung.error().message}});
    return {};
}

} // namespace trainctl
