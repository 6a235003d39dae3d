#include "desk/desk.h"

#include "base/hash.h"
#include "run/drill_story.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration poll = 200ms;
constexpr Duration word_every = 1s;    // whoever waits frees a disk then, and is seen to be there
constexpr Duration taken_within = 45s; // by the head, though the bell failed
constexpr Duration confirm_within = 10s;
constexpr Duration reconcile_every = 5s;

std::int64_t wall_ms(Clock &clock) { return std::chrono::duration_cast<std::chrono::milliseconds>(clock.wall().time_since_epoch()).count(); }

const Event *newest_generation(const Journal &journal, AttemptNo attempt) {
    const Event *newest = nullptr;
    for (const auto &event : journal.events)
        if (event.attempt == attempt.value && event.name == "generation_started")
            newest = &event;
    return newest;
}

struct Scene {
    DrillScene scene;
    JobId job;
};

Result<Scene> scene_now(DeskCall &call, const RunPaths &paths) {
    auto training = training_now(call, paths);
    if (!training)
        return training.error();
    const auto journal = read_run_journal(call.files, paths);
    const auto *begun = newest_generation(journal, training->no);
    const auto generation = begun != nullptr ? begun->data.value("generation", 0) : 0;
    const bool steps = std::any_of(journal.events.begin(), journal.events.end(), [&](const Event &event) {
        return event.attempt == training->no.value && event.name == "first_step" && event.data.value("generation", 0) == generation;
    });
    if (begun == nullptr || !steps || !training->progress)
        return Error{ErrorKind::refused, "the training has not made a step yet that its head has seen", paths.run.value,
                     "try again when trainctl status shows steps; they are read by progress.patterns or TRAINCTL_PROGRESS"};
    Scene out{{training->no.value, generation, training->host, begun->data.value("nodes", std::vector<std::string>{}), 1}, training->job};
    if (training->progress->generation == generation && training->progress->nodes > 0)
        out.scene.ranks_per_node = std::max(1, training->progress->ranks / training->progress->nodes);
    return out;
}

Result<std::vector<DrillFault>> faults_of(const Json &request) {
    std::vector<DrillFault> out;
    for (const auto &item : request.value("faults", Json::array())) {
        auto fault = drill_fault_from(item);
        if (!fault)
            return fault.error();
        out.push_back(std::move(*fault));
    }
    return out;
}

// Where each fault is to hit what trains now: for whoever injects those from outside, and for `inject` below.
Result<Json> plan(DeskCall &call, const RunPaths &paths) {
    auto kinds = drill_kinds(call.request.value("kinds", std::vector<std::string>{}));
    if (!kinds)
        return kinds.error();
    auto run = load_run(call.files, paths);
    if (!run)
        return run.error();
    auto now = scene_now(call, paths);
    if (!now)
        return now.error();
    const auto rank = call.request.find("rank");
    DrillTarget target{rank != call.request.end() && rank->is_number_integer() ? std::optional{rank->get<int>()} : std::nullopt, call.text("node")};
    auto faults = place_faults(*kinds, target, now->scene);
    if (!faults)
        return faults.error();
    Json out{{"format", 1}, {"run", paths.run.value}, {"id", random_hex(8)}, {"attempt", now->scene.attempt}, {"generation", now->scene.generation},
             {"job", now->job.value}, {"nodes", now->scene.nodes}, {"head_node", now->scene.head_node}, {"faults", Json::array()}};
    for (auto &fault : *faults) {
        // Long enough that the lease ends, and the node comes back to a head that may have done without it.
        if (fault.kind == DrillKind::cut_off)
            fault.seconds = 2.0 * static_cast<double>(run->experiment.recovery.node_timeout.count());
        out["faults"].push_back(to_json(fault));
    }
    return out;
}

// Slurm counts in minutes from the job's start: the next full one.
Result<std::string> limit_time(DeskCall &call, const RunPaths &paths, const DrillWish &wish) {
    auto found = call.scheduler.find({job_name(paths.run, AttemptNo{wish.attempt})});
    if (!found)
        return found.error();
    for (const auto &job : found->jobs) {
        if (job.phase != JobPhase::running || !job.started)
            continue;
        const auto ran = unix_seconds(call.clock.wall()) - unix_seconds(*job.started);
        const std::chrono::minutes limit{std::max<std::int64_t>(1, ran / 60 + 1)};
        if (auto limited = call.limit_time(job.id, limit); !limited)
            return limited.error();
        return fmt::format("the time limit of job {} is {} min now, it has run for {} s", to_string(job.id), limit.count(), ran);
    }
    return Error{ErrorKind::not_found, "the job does not run any more", paths.run.value, ""};
}

// Those inside the job, and those through Slurm that any user may do to a job of theirs.
Result<Json> inject(DeskCall &call, const RunPaths &paths) {
    auto faults = faults_of(call.request);
    if (!faults)
        return faults.error();
    DrillWish wish{call.text("id"), call.request.value("attempt", 0), call.request.value("generation", 0), {}};
    Json done = Json::array();
    Json at;
    for (const auto &fault : *faults) {
        if (traits(fault.kind).actor == DrillActor::job)
            wish.faults.push_back(fault);
        if (fault.kind != DrillKind::time_limit)
            continue;
        at = wall_ms(call.clock);
        auto limited = limit_time(call, paths, wish);
        if (!limited)
            return limited.error();
        done.push_back(*limited);
    }
    if (!wish.faults.empty())
        if (auto wished = wish_and_ring(call, paths, JobId{call.request.value("job", std::uint64_t{0})}, {"drill.json", to_json(wish)}); !wished)
            return wished.error();
    // Who is about to hurt the machine must know that the head has taken the wish.
    const Instant end = call.clock.now() + confirm_within;
    const auto taken = [&] { const auto left = call.files.read(paths.wish("drill.json")); return left && !*left; };
    while (call.request.value("confirm", false) && !taken() && call.clock.now() < end)
        call.clock.sleep_for(poll);
    return Json{{"format", 1}, {"at_ms", at}, {"done", std::move(done)}};
}

Result<DrillStory> story_now(DeskCall &call, const RunPaths &paths, const DrillBegin &begin, const RunView &view) {
    const auto journal = read_run_journal(call.files, paths);
    DrillRecords records{journal.events, {}, {}};
    for (const auto &attempt : view.attempts) {
        if (attempt.outcome)
            records.outcomes[attempt.no.value] = *attempt.outcome;
        if (attempt.verdict)
            records.verdicts[attempt.no.value] = *attempt.verdict;
    }
    return drill_story(begin, records);
}

std::optional<std::int64_t> newest_step(const RunView &view) {
    for (auto attempt = view.attempts.rbegin(); attempt != view.attempts.rend(); ++attempt)
        if (attempt->owner())
            return attempt->progress ? attempt->progress->step : std::nullopt;
    return std::nullopt;
}

// Until training goes on, the run ends, or the time is over; a word each second meanwhile.
class Watch {
public:
    Watch(DeskCall &call, const RunPaths &paths, DrillBegin begin) : call_(call), paths_(paths), begin_(std::move(begin)), since_(call.clock.now()) {}

    Result<Json> run() {
        const Instant end = since_ + std::chrono::seconds{call_.request.value("timeout_s", 900)};
        const auto fill = join_path(call_.root, disk_fill_name);
        const bool fills = std::any_of(begin_.faults.begin(), begin_.faults.end(), [](const auto &fault) { return fault.kind == DrillKind::disk_full; });
        std::optional<std::int64_t> step_when_free;
        bool freed = !fills;
        for (;;) {
            auto view = look_at_run(call_.files, paths_);
            if (!view)
                return view.error();
            auto story = story_now(call_, paths_, begin_, *view);
            if (!story)
                return story.error();
            tell(*story);
            const auto content = freed ? Result<std::vector<std::string>>{std::vector<std::string>{}} : call_.files.list(call_.root);
            if (!freed && content && std::find(content->begin(), content->end(), base_name(fill)) == content->end()) {
                freed = true;
                step_when_free = newest_step(*view);
            }
            const auto step = newest_step(*view);
            const bool unharmed = fills && freed && story->seen.empty() && story->ends.empty() && step_when_free && step && *step > *step_when_free;
            if ((story->over && freed) || unharmed || view->ended)
                return answer(*story, *view);
            if (!story->refused.empty() || (!story->injected && call_.clock.now() - since_ >= taken_within)) {
                (void)call_.files.remove(paths_.wish("drill.json")).ok(); // nobody is to do it later
                return Error{ErrorKind::refused, story->refused.empty() ? "the head did not take the wish" : story->refused, paths_.run.value, "trainctl status " + paths_.run.value};
            }
            if (call_.clock.now() >= end)
                return answer(*story, *view);
            look_after_run();
            call_.clock.sleep_for(poll);
        }
    }

private:
    void tell(const DrillStory &story) {
        for (; told_ < story.seen.size(); ++told_)
            call_.say({{"progress", fmt::format("{:.3f} s: {}", story.seen[told_].after_s, story.seen[told_].what)}});
        if (call_.clock.now() - said_ < word_every)
            return;
        said_ = call_.clock.now();
        call_.say({{"seen", !story.seen.empty() || !story.ends.empty()}});
    }

    // A run whose standby could not be made goes on by somebody who looks: we do.
    void look_after_run() {
        if (call_.clock.now() - looked_ < reconcile_every)
            return;
        looked_ = call_.clock.now();
        if (auto run = load_run(call_.files, paths_))
            (void)put_right(call_, *run, true).ok();
    }

    Json answer(const DrillStory &story, const RunView &view) const {
        Json out = to_json(story);
        out["format"] = 1;
        out["run"] = paths_.run.value;
        out["attempt"] = begin_.attempt;
        out["generation"] = begin_.generation;
        out["faults"] = Json::array();
        for (const auto &fault : begin_.faults)
            out["faults"].push_back(to_json(fault));
        out["ended"] = view.ended ? to_json(*view.ended) : Json{};
        return out;
    }

    DeskCall &call_;
    const RunPaths &paths_;
    const DrillBegin begin_;
    const Instant since_;
    Instant said_{}, looked_{};
    std::size_t told_ = 0;
};

Result<Json> watch(DeskCall &call, const RunPaths &paths) {
    auto faults = faults_of(call.request);
    if (!faults)
        return faults.error();
    return Watch{call, paths, {call.text("id"), call.request.value("attempt", 0), call.request.value("generation", 0), std::move(*faults), call.request.value("at_ms", std::int64_t{0})}}.run();
}

} // namespace

Result<Json> desk_drill(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    const auto what = call.text("do");
    if (what == "plan")
        return plan(call, *paths);
    if (what == "inject")
        return inject(call, *paths);
    if (what == "watch")
        return watch(call, *paths);
    return Error{ErrorKind::invalid, "a drill is planned, injected or watched, not '" + what + "'", "", ""};
}

} // namespace trainctl
