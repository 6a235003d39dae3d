#include "desk/desk.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration poll = 250ms;
constexpr Duration head_time = 45s; // for the head to look at its wishes though the bell failed, and at the checkpoints

bool is_answer(const Event &event) { return event.name == "saved" || event.name == "save_refused" || event.name == "save_missing"; }

std::size_t count_answers(const Journal &journal, AttemptNo attempt) {
    return static_cast<std::size_t>(std::count_if(journal.events.begin(), journal.events.end(),
                                                  [&](const Event &event) { return event.attempt == attempt.value && is_answer(event); }));
}

// The head's answers come in the order of the wishes; the one behind those that were there before is ours.
const Event *nth_answer(const Journal &journal, AttemptNo attempt, std::size_t n) {
    for (const auto &event : journal.events)
        if (event.attempt == attempt.value && is_answer(event) && n-- == 0)
            return &event;
    return nullptr;
}

Result<Json> saved(const RunPaths &paths, const Event &event) {
    const auto text = event.data.value("text", "");
    if (event.name == "saved")
        return Json{{"format", 1}, {"run", paths.run.value}, {"saved", true}, {"text", text}, {"attempt", event.attempt},
                    {"step", event.data.value("step", Json{})}, {"path", event.data.value("path", "")}, {"took_s", event.data.value("took_s", Json{})}};
    if (event.name == "save_missing")
        return Error{ErrorKind::not_found, text, paths.run.value, "the training goes on; does it save on checkpoint.save_signal within checkpoint.save_time?"};
    return Error{ErrorKind::refused, text, paths.run.value, ""};
}

} // namespace

Result<Json> desk_checkpoint_now(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    auto run = load_run(call.files, *paths);
    if (!run)
        return run.error();
    if (run->experiment.checkpoint.save_signal.empty())
        return Error{ErrorKind::refused, "this training can't be asked to save: its experiment has no checkpoint.save_signal", paths->run.value,
                     "a training that saves on SIGUSR1 says `save_signal: USR1`; the next submit can have it"};
    auto training = training_now(call, *paths);
    if (!training)
        return training.error();
    const auto before = count_answers(read_run_journal(call.files, *paths), training->no);
    const Json wish{{"by", call.who}, {"when", unix_seconds(call.clock.wall())}};
    if (auto wished = wish_and_ring(call, *paths, training->job, {"checkpoint-now", wish}); !wished)
        return wished.error();
    if (!call.request.value("wait", true))
        return Json{{"format", 1}, {"run", paths->run.value}, {"saved", nullptr}, {"text", "asked to save"}, {"attempt", training->no.value}};

    const Instant end = call.clock.now() + Duration{run->experiment.checkpoint.save_time} + head_time;
    for (;;) {
        const auto journal = read_run_journal(call.files, *paths);
        if (const auto *answer = nth_answer(journal, training->no, before))
            return saved(*paths, *answer);
        auto attempt = look_at_attempt(call.files, *paths, training->no);
        if (!attempt)
            return attempt.error();
        if (attempt->outcome) {
            (void)call.files.remove(paths->wish("checkpoint-now")).ok(); // the next attempt was not asked
            return Error{ErrorKind::refused, fmt::format("attempt {} ended before a save was seen: {}", training->no.value, attempt->outcome->text), paths->run.value,
                         "trainctl status " + paths->run.value};
        }
        if (call.clock.now() >= end)
            return Error{ErrorKind::not_found, "the head does not say that anything was saved", paths->run.value, "trainctl status " + paths->run.value};
        call.clock.sleep_for(poll);
    }
}

} // namespace trainctl
