// The answer to "nodes" as text: for the user, and for an administrator who is asked to look at a node.
#include "report/answer.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <fmt/format.h>
#include <map>

namespace trainctl {

namespace {

std::map<std::string, std::vector<Json>> by_node(const Json &answer) {
    std::map<std::string, std::vector<Json>> nodes;
    for (const auto &note : items_of(answer, "notes"))
        nodes[clean_text(note, "node")].push_back(note);
    return nodes;
}

std::string note_text(const Json &note, std::optional<std::int64_t> now) {
    return fmt::format("{} {}, {} attempt {}: {}", is_true(note, "proven") ? "proven" : "suspected", ago_utc(integer_of(note, "when"), now),
                       clean_text(note, "run"), integer_of(note, "attempt").value_or(0), clean_text(note, "class") + ": " + clean_text(note, "why"));
}

} // namespace

std::string nodes_text(const Json &answer, const ReportStyle &style) {
    const auto nodes = by_node(answer);
    if (nodes.empty())
        return "No node is suspected.\n";
    const auto now = integer_of(answer, "now");
    std::string text;
    for (const auto &[node, notes] : nodes) {
        const bool avoided = is_true(notes.front(), "avoided");
        std::int64_t until = 0;
        for (const auto &note : notes)
            until = std::max(until, integer_of(note, "until").value_or(0));
        const auto left = now ? seconds_text(until - *now) : "";
        text += paint(node, Paint::strong, style) + "  " +
                paint(avoided ? "avoided" : "suspected once", avoided ? Paint::bad : Paint::waiting, style) + ", for " + left + "\n";
        for (const auto &note : notes)
            text += labelled("", note_text(note, now), style);
    }
    return text;
}

std::string nodes_report(const Json &answer) {
    std::string text;
    for (const auto &[node, notes] : by_node(answer)) {
        text += fmt::format("{}: {} of training runs\n", node, notes.size() == 1 ? "1 failure" : fmt::format("{} failures", notes.size()));
        for (const auto &note : notes)
            text += "  - " + note_text(note, integer_of(answer, "now")) + "\n";
    }
    return text.empty() ? "No node is suspected.\n" : text;
}

} // namespace trainctl
