#include "base/text.h"
#include "report/answer.h"
#include "report/attempts.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

// Of each attempt in the story; the whole end of a traceback is in `status` and in the logs.
constexpr std::size_t shown_lines = 5;

std::string beginning(const AttemptFacts &attempt, const AttemptFacts *before) {
    std::string text = attempt.job ? fmt::format("job {}", *attempt.job) : "no job";
    if (!attempt.nodes.empty())
        text += " on " + attempt.nodes;
    if (attempt.from_step)
        text += fmt::format(", resumed from step {}", *attempt.from_step);
    else if (attempt.claimed)
        text += ", started from nothing";
    if (before != nullptr && before->ended && attempt.began && *attempt.began >= *before->ended)
        text += fmt::format(", {} after the end of attempt {}", seconds_text(*attempt.began - *before->ended), before->no);
    return text;
}

std::string end(const AttemptFacts &attempt) {
    // "rank 3 on n2 was killed ..., 14 s after its start" says it with more words than the head did.
    return attempt.death && attempt.cause == "rank failed" ? attempt.death->what : attempt.state;
}

std::string work(const AttemptFacts &attempt) {
    std::string text = attempt.trained_s ? "trained " + seconds_text(*attempt.trained_s) : "";
    if (attempt.to_step)
        text += fmt::format("{}to step {}", text.empty() ? "" : " ", *attempt.to_step);
    if (attempt.checkpoint_step)
        text += fmt::format("{}newest checkpoint step {}", text.empty() ? "" : ", ", *attempt.checkpoint_step);
    return text;
}

std::string percent(std::int64_t part, std::int64_t whole) {
    return whole > 0 ? fmt::format(" ({:.0f} %)", 100.0 * static_cast<double>(std::min(part, whole)) / static_cast<double>(whole)) : "";
}

std::string totals(const Json &status, const std::vector<const AttemptFacts *> &told, const ReportStyle &style) {
    std::int64_t trained = 0, again = 0;
    for (std::size_t i = 0; i < told.size(); ++i) {
        trained += told[i]->trained_s.value_or(0);
        if (i > 0 && told[i - 1]->to_step && told[i]->claimed)
            again += std::max(std::int64_t{0}, *told[i - 1]->to_step - told[i]->from_step.value_or(0));
    }
    const auto created = integer_of(status, "created"), now = integer_of(status, "now");
    const auto when = integer_of(member(status, "ended"), "when");
    std::string out;
    if (created && (when || now)) {
        const auto wall = std::max(std::int64_t{0}, when.value_or(now.value_or(0)) - *created);
        out += labelled("wall time", fmt::format("{}{}", seconds_text(wall), when ? ", from submission to the end" : " so far"), style);
        out += labelled("training", seconds_text(trained) + percent(trained, wall) +
                                        (again > 0 ? fmt::format(", {} done twice", counted(again, "step")) : ""), style);
    }
    return out + labelled("attempts", std::to_string(told.size()), style);
}

} // namespace

std::string summary_text(const Json &status, const ReportStyle &style) {
    const auto attempts = attempts_of(status);
    std::vector<const AttemptFacts *> told;
    for (const auto &attempt : attempts) // a standby that was not needed is no part of the story
        if (attempt.claimed || (attempt.over && attempt.cause != "standby not needed"))
            told.push_back(&attempt);
    const auto state = clean_text(status, "state"), why = text_of(member(status, "ended"), "why");
    const auto how = state == "finished" ? Paint::good : state == "failed" ? Paint::bad : Paint::waiting;
    std::string out = paint(clean_text(status, "run"), Paint::strong, style) + "  " + paint(state, how, style) + "\n";
    if (!why.empty() && state != "finished" && why != state)
        out += labelled("why", why, style);
    if (const auto *last = current_attempt(attempts))
        out += labelled("progress", progress_text(last->progress), style);
    out += "\n";
    const AttemptFacts *before = nullptr;
    for (const auto *attempt : told) {
        out += labelled(fmt::format("attempt {}", attempt->no), beginning(*attempt, before), style);
        out += labelled("", end(*attempt), style);
        if (attempt->death && attempt->cause != "finished")
            out += quoted_lines(attempt->death->last_lines, shown_lines, 14, style);
        out += labelled("", work(*attempt), style);
        before = attempt;
    }
    return out + "\n" + totals(status, told, style);
}

} // namespace trainctl
