#include "base/clock.h"
#include "base/text.h"
#include "report/answer.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

constexpr std::size_t most_rejected = 8; // JSON has them all

std::string how_sure(double confidence) {
    const char *word = confidence >= .9 ? "as good as certain" : confidence >= .8 ? "very likely" : confidence >= .5 ? "likely" : confidence >= .3 ? "a guess" : "not known";
    return fmt::format("{} ({:.2f})", word, confidence);
}

std::string in_words(const std::string &action) {
    if (action == "restart-in-place")
        return "start the ranks again where they are";
    if (action == "without-node")
        return "start again without the suspected node";
    if (action == "hand-over")
        return "go on in the next job, from the newest complete checkpoint";
    if (action == "retry-once")
        return "try once more";
    if (action == "stop")
        return "stop: a restart does not help";
    return action == "none" ? "nothing" : action;
}

std::string place_of(const Json &clue) {
    const auto line = integer_of(clue, "line");
    return clean_text(clue, "source") + (line ? fmt::format(":{}", *line) : "");
}

std::string clue_text(const Json &clue) {
    const auto count = integer_of(clue, "count");
    return place_of(clue) + ": " + clean_text(clue, "text") + (count ? fmt::format(" ({} times)", *count) : "");
}

std::string suspect_text(const Json &suspect) {
    std::string out = clean_text(suspect, "node");
    if (const auto rank = integer_of(suspect, "rank"))
        out += fmt::format("{}rank {}", out.empty() ? "" : ", ", *rank);
    if (const auto times = integer_of(suspect, "times_before"); times && *times > 0)
        out += fmt::format(" (suspected {} before)", *times == 1 ? "once" : fmt::format("{} times", *times));
    return out + (is_true(suspect, "proven") ? ", proven" : "");
}

// "exit code 1", "signal 9"; "" for 0:0.
std::string code_text(const Json &job, const char *code, const char *signal) {
    if (const auto number = integer_of(job, signal); number && *number > 0)
        return fmt::format("signal {}", *number);
    const auto number = integer_of(job, code);
    return number && *number > 0 ? fmt::format("exit code {}", *number) : "";
}

std::string times_text(const Json &job) {
    const auto started = integer_of(job, "started"), ended = integer_of(job, "ended");
    if (!started)
        return "";
    auto text = utc_text(from_unix_seconds(*started));
    if (ended)
        text += fmt::format(" to {}, {}", utc_text(from_unix_seconds(*ended)), seconds_text(std::max<std::int64_t>(0, *ended - *started)));
    const auto restarts = integer_of(job, "restarts");
    return text + (restarts && *restarts > 0 ? fmt::format(", after {}", counted(*restarts, "requeue")) : "");
}

} // namespace

std::string job_text(const Json &diagnosis, const ReportStyle &style) {
    const auto &job = member(diagnosis, "job");
    if (!job.is_object())
        return "";
    const auto reason = clean_text(job, "reason"), name = clean_text(job, "name");
    auto out = paint(fmt::format("job {}{}", clean_text(job, "id"), name.empty() ? "" : " (" + name + ")"), Paint::strong, style) + ": " + clean_text(job, "state");
    if (!reason.empty())
        out += ", " + reason;
    if (const auto code = code_text(job, "exit_code", "exit_signal"); !code.empty())
        out += ", " + code;
    if (const auto code = code_text(job, "step_exit_code", "step_signal"); !code.empty())
        out += ", its steps' highest: " + code;
    out += "\n" + labelled("nodes", clean_text(job, "nodes"), style) + labelled("failed", clean_text(job, "failed_node"), style) + labelled("ran", times_text(job), style);
    std::string label = "read";
    for (const auto &log : items_of(diagnosis, "logs"))
        out += labelled(std::exchange(label, ""), fmt::format("{}, {}", clean_text(log, "file"), human_bytes(static_cast<std::uint64_t>(integer_of(log, "bytes").value_or(0)))), style);
    label = "not read";
    for (const auto &problem : items_of(diagnosis, "not_read"))
        if (problem.is_string())
            out += labelled(std::exchange(label, ""), clean(problem.get<std::string>()), style);
    label = "note";
    for (const auto &note : items_of(job, "notes"))
        if (note.is_string())
            out += labelled(std::exchange(label, ""), clean(note.get<std::string>()), style);
    return out;
}

std::string diagnosis_text(const Json &diagnosis, const ReportStyle &style) {
    const auto name = clean_text(diagnosis, "class");
    std::string out = paint(name, name == "none" ? Paint::good : Paint::bad, style) + ": " + clean_text(diagnosis, "what") + "\n";
    out += labelled("how sure", how_sure(number_of(diagnosis, "confidence").value_or(0)), style);
    out += labelled("do", in_words(clean_text(diagnosis, "action")), style);
    out += labelled("hint", clean_text(diagnosis, "hint"), style);
    std::string label = "evidence";
    for (const auto &clue : items_of(diagnosis, "evidence"))
        out += labelled(std::exchange(label, ""), clue_text(clue), style);
    label = "suspects";
    for (const auto &suspect : items_of(diagnosis, "suspects"))
        out += labelled(std::exchange(label, ""), suspect_text(suspect), style);
    label = "rejected";
    const auto rejected = items_of(diagnosis, "rejected");
    for (std::size_t i = 0; i < std::min(rejected.size(), most_rejected); ++i)
        out += labelled(std::exchange(label, ""), fmt::format("{} ({}): {}", clean_text(rejected[i], "class"), place_of(rejected[i]),
                                                              clean_text(rejected[i], "why")), style);
    if (rejected.size() > most_rejected)
        out += labelled("", fmt::format("and {} more (--json)", rejected.size() - most_rejected), style);
    return out;
}

std::string classes_text(const Json &classes) {
    std::string out = "| class | what happened | done by default | why |\n|---|---|---|---|\n";
    for (const auto &one : classes) {
        const auto budget = integer_of(one, "budget");
        const std::string limit = is_true(one, "free") ? "free of charge" : budget && *budget > 0 ? fmt::format("{} in a row", *budget) : "";
        const auto action = clean_text(one, "action");
        out += fmt::format("| `{}` | {} | {}{} | {} |\n", clean_text(one, "class"), clean_text(one, "what"), action,
                           limit.empty() || action == "none" || action == "stop" ? "" : ", " + limit, clean_text(one, "why"));
    }
    return out;
}

} // namespace trainctl
