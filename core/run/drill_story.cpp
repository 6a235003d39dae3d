#include "run/drill_story.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::size_t most_seen = 8; // what comes later is a cascade

std::string text_in(const Event &event, const char *key) {
    const auto at = event.data.find(key);
    return at != event.data.end() && at->is_string() ? at->get<std::string>() : "";
}

std::int64_t number_in(const Event &event, const char *key) {
    const auto at = event.data.find(key);
    return at != event.data.end() && at->is_number() ? at->get<std::int64_t>() : 0;
}

double seconds_between(std::int64_t from_ms, std::int64_t to_ms) { return static_cast<double>(to_ms - from_ms) / 1000; }

// How somebody noticed; empty where this event says nothing of a fault.
std::string sign(const Event &event) {
    if (event.name == "rank_exited") {
        const auto code = number_in(event, "exit_code"), signal = number_in(event, "signal");
        const auto who = fmt::format("rank {} on {}", number_in(event, "rank"), text_in(event, "node"));
        if (signal != 0)
            return fmt::format("{} was killed by signal {}", who, signal);
        return code != 0 ? fmt::format("{} exited with code {}", who, code) : "";
    }
    if (event.name == "node_lost" || event.name == "stalled" || event.name == "node_unfit")
        return text_in(event, "text");
    if (event.name == "signal")
        return "the head got SIG" + text_in(event, "signal");
    if (event.name == "save_asked")
        return "the ranks were asked to save";
    return "";
}

class Fold {
public:
    Fold(const DrillBegin &begin, const DrillRecords &records) : begin_(begin), records_(records) {
        const bool asks_head = std::any_of(begin.faults.begin(), begin.faults.end(), [](const auto &fault) { return traits(fault.kind).actor == DrillActor::job; });
        ends_attempt_ = std::any_of(begin.faults.begin(), begin.faults.end(), [](const auto &fault) { return traits(fault.kind).ends_attempt; });
        story_.injected = !asks_head;
        story_.fault_ms = begin.at_ms;
    }

    DrillStory run() {
        for (const auto &event : records_.events)
            find_fault(event);
        if (!story_.injected)
            return std::move(story_);
        for (const auto &event : records_.events)
            take(event);
        if (story_.seen.size() > most_seen)
            story_.seen.resize(most_seen);
        for (const auto &[no, outcome] : records_.outcomes)
            if (no >= begin_.attempt)
                story_.ends.push_back(fmt::format("attempt {} {}: {}", no, to_string(outcome.kind), outcome.text));
        for (const auto &[no, verdict] : records_.verdicts)
            if (no >= begin_.attempt)
                story_.ends.push_back(fmt::format("attempt {} {}: {}", no, verdict.cause, verdict.text));
        story_.over = over_;
        return std::move(story_);
    }

private:
    void find_fault(const Event &event) {
        if (text_in(event, "id") != begin_.id || begin_.id.empty())
            return;
        if (event.name == "drill") {
            story_.injected = true;
            story_.fault_ms = begin_.at_ms > 0 ? std::min(begin_.at_ms, event.wall_ms) : event.wall_ms;
        } else if (event.name == "drill_refused") {
            story_.refused = text_in(event, "text");
        } else if (event.name == "drill_done") {
            story_.done.push_back(text_in(event, "text"));
        }
    }

    void take(const Event &event) {
        if (event.attempt < begin_.attempt)
            return;
        if (event.name == "generation_started")
            started_[{event.attempt, number_in(event, "generation")}] = &event;
        // What ends after the head's order to kill ends by that.
        if (event.name == "ranks_killed" || event.name == "generation_started")
            killing_ = event.name == "ranks_killed";
        if (event.name == "last_step")
            take_last_step(event);
        else if (event.name == "first_step")
            take_first_step(event);
        if (event.wall_ms < story_.fault_ms)
            return;
        node_lost_ = node_lost_ || event.name == "node_lost";
        if (event.name == "checkpoint_refused")
            story_.refused_checkpoints.push_back(fmt::format("{}: {}", text_in(event, "path"), text_in(event, "why")));
        if (event.name == "generation_ended" && !is_before(event.attempt, number_in(event, "generation")))
            story_.ends.push_back(fmt::format("generation {} {}: {}", number_in(event, "generation"), text_in(event, "kind"), text_in(event, "text")));
        if (event.name == "claimed" && event.attempt > begin_.attempt)
            story_.seen.push_back({fmt::format("attempt {} took over", event.attempt), seconds_between(story_.fault_ms, event.wall_ms)});
        else if (const auto what = killing_ && event.name == "rank_exited" ? "" : sign(event); !what.empty() && event.attempt == begin_.attempt)
            story_.seen.push_back({what, seconds_between(story_.fault_ms, event.wall_ms)});
    }

    bool is_before(int attempt, std::int64_t generation) const { return attempt == begin_.attempt && generation < begin_.generation; }

    // A generation that began between two faults does not count: each of them must have had its effect.
    bool is_last(const DrillGoesOn &on, const Event *started) const {
        if (on.attempt > begin_.attempt)
            return true;
        const auto nodes = started != nullptr ? started->data.value("nodes", std::vector<std::string>{}) : std::vector<std::string>{};
        return !ends_attempt_ && std::all_of(begin_.faults.begin(), begin_.faults.end(), [&](const auto &fault) {
            const bool of_node = fault.kind == DrillKind::node_loss || fault.kind == DrillKind::cut_off;
            return !of_node || node_lost_ || std::find(nodes.begin(), nodes.end(), fault.node) == nodes.end();
        });
    }

    void take_last_step(const Event &event) {
        if (is_before(event.attempt, number_in(event, "generation")))
            return;
        const auto ago = event.data.value("ago_s", 0.0);
        stood_since_ = event.wall_ms - static_cast<std::int64_t>(ago * 1000);
        if (event.attempt == begin_.attempt && number_in(event, "generation") == begin_.generation)
            story_.last_step = number_in(event, "step");
    }

    void take_first_step(const Event &event) {
        const auto generation = number_in(event, "generation");
        if (is_before(event.attempt, generation) || (event.attempt == begin_.attempt && generation == begin_.generation) || event.wall_ms < story_.fault_ms)
            return;
        const Event *started = started_[{event.attempt, generation}];
        DrillGoesOn on{event.attempt, static_cast<int>(generation), started != nullptr ? text_in(*started, "resume_from") : "", number_in(event, "step"), 0, false};
        on.from_fault = !stood_since_;
        // A head that died told nobody of its last step; of a later one than the first that is not known at all.
        if (stood_since_ || story_.goes_on.empty())
            on.still_s = seconds_between(stood_since_.value_or(story_.fault_ms), event.wall_ms);
        story_.still_s += on.still_s;
        over_ = over_ || is_last(on, started);
        story_.goes_on.push_back(std::move(on));
        stood_since_.reset();
    }

    const DrillBegin &begin_;
    const DrillRecords &records_;
    DrillStory story_;
    std::map<std::pair<int, std::int64_t>, const Event *> started_; // by attempt and generation
    std::optional<std::int64_t> stood_since_; // when the newest generation that ended made its last step
    bool ends_attempt_ = false, node_lost_ = false, over_ = false, killing_ = false;
};

} // namespace

DrillStory drill_story(const DrillBegin &begin, const DrillRecords &records) { return Fold{begin, records}.run(); }

Json to_json(const DrillStory &story) {
    Json out{{"injected", story.injected}, {"fault_ms", story.fault_ms}, {"done", story.done}, {"seen", Json::array()}, {"ends", story.ends},
             {"refused_checkpoints", story.refused_checkpoints}, {"last_step", story.last_step ? Json(*story.last_step) : Json{}},
             {"goes_on", Json::array()}, {"still_s", story.still_s}, {"over", story.over}};
    for (const auto &seen : story.seen)
        out["seen"].push_back({{"what", seen.what}, {"after_s", seen.after_s}});
    for (const auto &on : story.goes_on)
        out["goes_on"].push_back({{"attempt", on.attempt}, {"generation", on.generation}, {"resumed_from", on.resumed_from},
                                  {"first_step", on.first_step}, {"still_s", on.still_s}, {"from_fault", on.from_fault}});
    return out;
}

} // namespace trainctl
