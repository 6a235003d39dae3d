#include "base/text.h"
#include "report/answer.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

namespace {

enum Column { step, age, size, name, column_count };
using Row = std::array<std::string, column_count>;

Row row_of(const Json &one) {
    const auto at = integer_of(one, "step"), seconds = integer_of(one, "age_s"), bytes = integer_of(one, "bytes");
    Row row;
    row[step] = at ? std::to_string(*at) : "?";
    row[age] = seconds ? seconds_text(*seconds) : "?";
    row[size] = bytes && *bytes >= 0 ? human_bytes(static_cast<std::uint64_t>(*bytes)) : "?";
    row[name] = clean_text(one, "name");
    return row;
}

std::string none_text(const Json &found) {
    std::vector<std::string> names;
    for (const auto &pattern : items_of(found, "names"))
        if (pattern.is_string())
            names.push_back(clean(pattern.get<std::string>()));
    return fmt::format("There are no checkpoints in {} (names looked for: {})", clean_text(found, "dir"), join(names, ", "));
}

std::string put_aside_text(const Json &found, const ReportStyle &style) {
    std::vector<std::string> names;
    for (const auto &name : items_of(found, "put_aside"))
        if (name.is_string())
            names.push_back(clean(name.get<std::string>()));
    std::string out;
    for (const auto &part : names.empty() ? std::vector<std::string>{} : wrap("Put aside by a roll back, and not gone on from: " + join(names, ", "), usable_width(style)))
        out += part + "\n";
    return out;
}

} // namespace

std::string checkpoints_text(const Json &found, const ReportStyle &style) {
    const auto all = items_of(found, "checkpoints");
    std::string out;
    if (all.empty()) {
        for (const auto &part : wrap(none_text(found), usable_width(style)))
            out += part + "\n";
        return out + put_aside_text(found, style);
    }
    std::vector<Row> rows{{"step", "age", "size", "name"}};
    std::array<std::size_t, column_count> widths{};
    for (const auto &one : all)
        rows.push_back(row_of(one));
    for (const auto &row : rows)
        for (std::size_t i = 0; i < column_count; ++i)
            widths[i] = std::max(widths[i], columns(row[i]));
    for (const auto &part : wrap(clean_text(found, "dir"), usable_width(style)))
        out += part + "\n";
    const auto newest = text_of(found, "newest_complete");
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto &row = rows[i];
        std::string line;
        for (const auto column : {step, age, size})
            line += pad(row[column], widths[column]) + "  ";
        if (i == 0) {
            out += paint(line + pad("verdict", 8) + "  name", Paint::faint, style) + "\n";
            continue;
        }
        const auto &one = all[i - 1];
        const bool complete = is_true(one, "complete");
        const std::size_t before = columns(line) + 10, room = usable_width(style) - std::min(usable_width(style) - 1, before);
        out += line + paint(pad(complete ? "complete" : "refused", 8), complete ? Paint::good : Paint::bad, style) + "  " + cut(row[name], room) + "\n";
        if (complete && !newest.empty() && text_of(one, "path") == newest)
            out += "    a restart goes on from here\n";
        if (!complete)
            for (const auto &part : wrap(clean_text(one, "why_not"), usable_width(style) - 4))
                out += "    " + part + "\n";
    }
    if (newest.empty())
        out += "None is complete: a restart begins anew.\n";
    if (is_true(found, "older_not_shown"))
        out += "Older ones are not shown (--most).\n";
    return out + put_aside_text(found, style);
}

} // namespace trainctl
