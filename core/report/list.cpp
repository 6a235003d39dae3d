#include "report/answer.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

namespace {

// As in status: below this silence is nothing to mention.
constexpr std::int64_t quiet_s = 12;

enum Column { run, state, step, loss, attempts, created, note, column_count };
using Row = std::array<std::string, column_count>;

bool is_over(const std::string &state) { return state == "finished" || state == "failed" || state == "stopped"; }

Row row_of(const Json &entry, std::optional<std::int64_t> now) {
    Row row;
    row[run] = clean_text(entry, "run");
    row[state] = clean_text(entry, "state");
    const auto at = integer_of(entry, "step"), total = integer_of(entry, "total_steps"), age = integer_of(entry, "age_s");
    row[step] = at ? std::to_string(*at) + (total ? fmt::format("/{}", *total) : "") : "-";
    const auto value = number_of(entry, "loss");
    row[loss] = value ? fmt::format("{:.4g}", *value) : "-";
    row[attempts] = std::to_string(integer_of(entry, "attempts").value_or(0));
    row[created] = ago(integer_of(entry, "created"), now);
    row[note] = clean_text(entry, "text");
    if (row[note] == row[state] || row[state] == "finished")
        row[note].clear();
    if (const auto since = ago(integer_of(entry, "unknown_since"), now); row[note].empty() && row[state] == "unknown" && !since.empty())
        row[note] = "unknown since " + since;
    if (row[note].empty() && !is_over(row[state]) && age && (*age >= quiet_s || row[state] == "unknown"))
        row[note] = fmt::format("last heard {} ago", seconds_text(*age));
    return row;
}

Paint paint_of(const std::string &state) {
    if (state == "running" || state == "finished")
        return Paint::good;
    return state == "failed" ? Paint::bad : state == "stopped" ? Paint::strong : Paint::waiting;
}

} // namespace

std::string list_text(const Json &list, const ReportStyle &style) {
    const auto runs = items_of(list, "runs");
    if (runs.empty())
        return "There are no runs yet. Start one: trainctl submit FILE\n";
    const auto now = integer_of(list, "now");
    std::vector<Row> rows{{"run", "state", "step", "loss", "attempts", "submitted", ""}};
    for (const auto &entry : runs)
        rows.push_back(row_of(entry, now));
    std::array<std::size_t, column_count> widths{};
    for (const auto &row : rows)
        for (std::size_t i = 0; i < note; ++i)
            widths[i] = std::max(widths[i], columns(row[i]));
    std::string out;
    for (const auto &row : rows) {
        std::string before, after;
        for (std::size_t i = 0; i < note; ++i)
            (i < state ? before : i == state ? before : after) += i == state ? "" : pad(row[i], widths[i]) + "  ";
        const std::size_t room = usable_width(style) - std::min(usable_width(style) - 1, columns(before) + widths[state] + 2);
        const bool fits = columns(after + row[note]) <= room;
        after = cut(fits ? after + row[note] : after, room);
        after.erase(after.find_last_not_of(' ') + 1);
        const bool head = &row == &rows.front();
        const auto how = head ? Paint::faint : paint_of(row[state]);
        out += (head ? paint(before, how, style) : before) + paint(pad(row[state], widths[state]), how, style) + "  " +
               (head ? paint(after, how, style) : after) + "\n";
        if (!fits)
            out += "    " + cut(row[note], usable_width(style) - 4) + "\n";
    }
    return out;
}

} // namespace trainctl
