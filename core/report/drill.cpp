#include "report/answer.h"
#include "report/report.h"
#include "report/terminal_text.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

std::string row(const std::string &label, const std::string &text) { return fmt::format("  {:<13}{}\n", label, text); }

std::string rows(const std::string &label, const std::vector<Json> &texts) {
    std::string out;
    for (const auto &text : texts)
        if (text.is_string())
            out += row(out.empty() ? label : "", clean(text.get<std::string>()));
    return out;
}

std::string name_of(const std::string &path) { return path.empty() ? "the beginning" : path.substr(path.rfind('/') + 1); }

} // namespace

std::string drill_text(const Json &story) {
    std::string kinds;
    for (const auto &fault : items_of(story, "faults"))
        kinds += (kinds.empty() ? "" : ", ") + clean_text(fault, "kind");
    std::string out = fmt::format("{}: {}\n", clean_text(story, "run"), kinds);
    out += rows("done", items_of(story, "done"));
    if (member(story, "over").is_null())
        return out;
    std::string label = "seen";
    for (const auto &seen : items_of(story, "seen"))
        out += row(std::exchange(label, ""), fmt::format("{:.3f} s later: {}", number_of(seen, "after_s").value_or(0), clean_text(seen, "what")));
    if (items_of(story, "seen").empty())
        out += row("seen", "nothing");
    out += rows("ended", items_of(story, "ends"));
    out += rows("refused", items_of(story, "refused_checkpoints"));
    const auto last = integer_of(story, "last_step");
    for (const auto &on : items_of(story, "goes_on")) {
        out += row("goes on", fmt::format("attempt {}, generation {}, from {}: step {}", integer_of(on, "attempt").value_or(0), integer_of(on, "generation").value_or(0),
                                          name_of(clean_text(on, "resumed_from")), integer_of(on, "first_step").value_or(0)));
        if (is_true(on, "from_fault"))
            out += row("", "its last step before is not known: counted from the fault");
    }
    if (!items_of(story, "goes_on").empty())
        out += row("stood still", fmt::format("{:.2f} s{}", number_of(story, "still_s").value_or(0), last ? fmt::format(", since step {}", *last) : ""));
    if (const auto &ended = member(story, "ended"); ended.is_object())
        out += row("the run", fmt::format("has ended: {}, {}", clean_text(ended, "kind"), clean_text(ended, "why")));
    else if (!is_true(story, "over"))
        out += row("not over", items_of(story, "seen").empty() && items_of(story, "goes_on").empty() ? "nothing broke, and the training goes on" : "training does not go on yet");
    return out;
}

} // namespace trainctl
