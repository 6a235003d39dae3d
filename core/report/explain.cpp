// The answer to "explain" as text.
#include "base/text.h"
#include "report/answer.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

std::string where_of(const Json &clue) {
    const auto line = integer_of(clue, "line").value_or(0);
    const auto source = clean_text(clue, "source");
    return line > 0 ? fmt::format("{}:{}", source, line) : source;
}

std::string clue_text(const Json &clue) {
    auto text = where_of(clue);
    const auto words = clean_text(clue, "text");
    text += (text.empty() || words.empty() ? "" : ": ") + words;
    const auto why_not = clean_text(clue, "why_not");
    return why_not.empty() ? text : text + " (" + why_not + ")";
}

std::string suspect_text(const Json &suspect) {
    auto text = clean_text(suspect, "node");
    if (const auto rank = integer_of(suspect, "rank").value_or(-1); rank >= 0)
        text = fmt::format("rank {}{}", rank, text.empty() ? "" : " on " + text);
    return text + (is_true(suspect, "proven") ? ", proven: " : ": ") + clean_text(suspect, "why");
}

std::string decision_text(const Json &failure) {
    auto text = clean_text(failure, "ruling");
    if (const double wait = number_of(failure, "wait_s").value_or(0); wait > 0)
        text += fmt::format(" after {:.1f} s", wait);
    return text + ": " + clean_text(failure, "reason");
}

std::string failure_text(const Json &failure, const ReportStyle &style) {
    const auto name = clean_text(failure, "class");
    const auto sure = number_of(failure, "confidence");
    auto text = labelled("class", name + (sure ? fmt::format(" ({:.0f} % sure)", *sure * 100) : "") + ": " + clean_text(failure, "what"), style);
    for (const auto &clue : items_of(failure, "evidence"))
        text += labelled("evidence", clue_text(clue), style);
    for (const auto &clue : items_of(failure, "rejected"))
        text += labelled("not", clean_text(clue, "class") + ": " + clue_text(clue), style);
    for (const auto &suspect : items_of(failure, "suspects"))
        text += labelled("suspect", suspect_text(suspect), style);
    text += labelled("decided", decision_text(failure), style);
    return text;
}

std::string generation_text(const Json &generation, const ReportStyle &style) {
    std::string text;
    const auto number = integer_of(generation, "generation").value_or(0);
    if (number > 0) {
        std::string nodes;
        for (const auto &node : items_of(generation, "nodes"))
            if (node.is_string())
                nodes += (nodes.empty() ? "" : ",") + clean(node.get<std::string>());
        const auto from = clean_text(generation, "resume_from");
        text += fmt::format("  generation {} on {}, from {}\n", number, nodes, from.empty() ? "the beginning" : from);
    }
    if (const auto &ended = member(generation, "ended"); ended.is_object()) {
        const auto trained = number_of(ended, "trained_s");
        text += labelled("ended", (trained ? fmt::format("after {:.1f} s: ", *trained) : "") + clean_text(ended, "text"), style);
    }
    if (const auto &failure = member(generation, "failure"); failure.is_object())
        text += failure_text(failure, style);
    return text;
}

std::string attempt_text(const Json &attempt, const ReportStyle &style) {
    auto text = fmt::format("attempt {}", integer_of(attempt, "no").value_or(0));
    if (const auto job = integer_of(member(attempt, "owner"), "job"))
        text += fmt::format(", job {}", *job);
    text = paint(text, Paint::strong, style) + "\n";
    for (const auto &generation : items_of(attempt, "generations"))
        text += generation_text(generation, style);
    if (const auto &failure = member(attempt, "failure"); failure.is_object())
        text += failure_text(failure, style);
    const auto &verdict = member(attempt, "verdict"), &outcome = member(attempt, "outcome");
    const auto end = verdict.is_object() ? clean_text(verdict, "text") : outcome.is_object() ? clean_text(outcome, "text") : "";
    text += labelled("end", end, style);
    text += labelled("refused", clean_text(attempt, "rejected"), style);
    return text;
}

// The failure that came last: what a person can do is about that one.
Json last_failure(const Json &answer) {
    Json last;
    for (const auto &attempt : items_of(answer, "attempts")) {
        for (const auto &generation : items_of(attempt, "generations"))
            if (member(generation, "failure").is_object())
                last = member(generation, "failure");
        if (member(attempt, "failure").is_object())
            last = member(attempt, "failure");
    }
    return last;
}

std::string advice(const Json &answer, const ReportStyle &style) {
    const auto state = clean_text(answer, "state"), run = clean_text(answer, "run");
    const auto failure = last_failure(answer);
    std::string text;
    if (failure.is_object() && state != "finished")
        text += labelled("do", clean_text(failure, "hint"), style);
    if (state == "failed" || state == "stopped")
        text += labelled("then", "trainctl resume " + run, style);
    return text;
}

std::string not_wasted_text(const Json &saved, const ReportStyle &style) {
    if (!saved.is_object())
        return "";
    return labelled("not wasted",
                    fmt::format("{:.4f} {}-hours: {} more {} of {:.1f} s on {}, as recovery.no_progress_max ({}) would have allowed",
                                number_of(saved, "hours").value_or(0), clean_text(saved, "unit"),
                                integer_of(saved, "tries").value_or(0), integer_of(saved, "tries") == 1 ? "try" : "tries", number_of(saved, "try_s").value_or(0),
                                counted(integer_of(saved, "units").value_or(0), clean_text(saved, "unit")), integer_of(saved, "limit").value_or(0)),
                    style);
}

std::string own_rules_text(const Json &own) {
    std::string text;
    for (const auto &rule : items_of(own, "rules")) {
        const auto pattern = clean_text(rule, "pattern"), hint = clean_text(rule, "hint");
        text += fmt::format("  {}{}: {} where {}{}\n", clean_text(rule, "name"), is_true(rule, "changed") ? " (changed)" : "", clean_text(rule, "class"),
                            pattern.empty() ? clean_text(rule, "fact") : pattern, hint.empty() ? "" : ". " + hint);
    }
    return text.empty() ? text : "\nRules that are not built in:\n" + text;
}

// "2 own rules, 1 class (failure_rules.yaml)", and what kept one out.
std::string rules_line(const Json &own, const ReportStyle &style) {
    std::string text, files;
    for (const auto &file : items_of(own, "files"))
        if (file.is_string())
            files += (files.empty() ? "" : ", ") + clean(file.get<std::string>());
    if (!files.empty()) {
        const auto rules = items_of(own, "rules").size(), classes = items_of(own, "classes").size();
        text += labelled("rules", fmt::format("{}{} on top of the built-in ones ({})", counted(static_cast<std::int64_t>(rules), "rule"),
                                              classes == 0 ? "" : fmt::format(" and {} {}", classes, classes == 1 ? "class" : "classes"), files), style);
    }
    for (const auto &problem : items_of(own, "problems"))
        if (problem.is_string())
            text += labelled("left out", clean(problem.get<std::string>()), style);
    return text;
}

} // namespace

std::string explain_text(const Json &answer, const ReportStyle &style) {
    const auto &ended = member(answer, "ended");
    auto text = paint(clean_text(answer, "run"), Paint::strong, style) + "  " + clean_text(answer, "state") + "\n";
    if (ended.is_object())
        text += labelled("why", clean_text(ended, "why"), style);
    text += rules_line(member(answer, "own_rules"), style);
    for (const auto &attempt : items_of(answer, "attempts"))
        text += "\n" + attempt_text(attempt, style);
    const auto end = not_wasted_text(member(answer, "not_wasted"), style) + advice(answer, style);
    return end.empty() ? text : text + "\n" + end;
}

std::string policy_text(const Json &policy) {
    std::string keys;
    for (const auto &key : items_of(policy, "keys"))
        keys += fmt::format("| `{}` | {} | {} |\n", clean_text(key, "key"), clean_text(key, "default"), clean_text(key, "doc"));
    return "What follows from a failure, the first that applies:\n"
           "  1. A stop that was asked for, the end of the training, exit code 93: the run ends.\n"
           "  2. The job's end without a fault of the training (time limit, preemption): the next attempt goes on, free of charge.\n"
           "  3. NaN or a loss spike, with recovery.rollback_on_nan: on from an older checkpoint, twice at most.\n"
           "  4. A class with the action `stop`: the run ends, if the diagnosis is 70 % sure or more; else it is tried once more.\n"
           "  5. The same error at the same step as last time, and no newer checkpoint in between: deterministic, the run ends.\n"
           "  6. More failures of a class in a row than its budget, without a newer checkpoint: the run ends.\n"
           "  7. Otherwise it is started again, in place where that is possible. From the second failure in a row on it waits\n"
           "     recovery.backoff, which doubles up to recovery.backoff_max.\n"
           "A node is avoided on proof at once, on suspicion when it was named before (recovery.avoid_for, recovery.avoid_max);\n"
           "a failure that leaves a node out counts against no budget. Any newer complete checkpoint refills all budgets.\n"
           "And whatever the class: recovery.no_progress_max failures in a row without a newer checkpoint end the run.\n\n"
           "| key | default | what it does |\n|---|---|---|\n" +
           keys + "\n" + classes_text(member(policy, "classes")) + own_rules_text(member(policy, "own_rules"));
}

} // namespace trainctl
