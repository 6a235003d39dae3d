#include "agent/rank_output.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <re2/re2.h>

namespace trainctl {

namespace {

constexpr std::size_t kept_lines = 20, kept_lines_of_traceback = 30;
constexpr std::size_t most_groups = 16; // of a pattern; those beyond are not looked at

template <class T> std::optional<T> parse(re2::StringPiece text) {
    T out{};
    const char *begin = text.data();
    const auto [end, failed] = std::from_chars(begin, begin + text.size(), out);
    return failed == std::errc{} && end == begin + text.size() ? std::optional{out} : std::nullopt;
}

} // namespace

std::vector<std::string> LineSplitter::add(std::string_view data) {
    std::vector<std::string> out;
    while (!data.empty()) {
        const auto at = data.find_first_of("\r\n");
        const auto piece = data.substr(0, at);
        if (!piece.empty()) {
            after_return_ = false;
            const auto room = max_line_bytes - std::min(max_line_bytes, line_.size());
            line_.append(piece.substr(0, room));
            cut_ += piece.size() - std::min(room, piece.size());
        }
        if (at == std::string_view::npos)
            break;
        if (data[at] == '\r' || !after_return_)
            finish_line(out);
        after_return_ = data[at] == '\r';
        data.remove_prefix(at + 1);
    }
    return out;
}

void LineSplitter::finish_line(std::vector<std::string> &out) {
    if (cut_ > 0)
        line_ += fmt::format(" [{} bytes cut]", cut_);
    out.push_back(std::move(line_));
    line_.clear();
    cut_ = 0;
}

std::vector<std::string> LineSplitter::end() {
    std::vector<std::string> out;
    if (!line_.empty())
        finish_line(out);
    return out;
}

void LastLines::add(std::string_view line) {
    if (lines_.size() == kept_lines_of_traceback)
        lines_.pop_front();
    lines_.emplace_back(line.substr(0, max_kept_line_bytes));
}

std::vector<std::string> LastLines::lines() const {
    const bool traceback = std::any_of(lines_.begin(), lines_.end(), [](const auto &line) { return starts_with(line, "Traceback (most recent"); });
    const std::size_t count = std::min(lines_.size(), traceback ? kept_lines_of_traceback : kept_lines);
    std::vector<std::string> out;
    for (auto at = lines_.end() - static_cast<std::ptrdiff_t>(count); at != lines_.end(); ++at)
        out.push_back(valid_utf8(*at));
    return out;
}

struct ProgressScan::Pattern {
    explicit Pattern(const std::string &text) : expression(text, RE2::Quiet) {
        for (const auto &[name, index] : expression.NamedCapturingGroups()) {
            if (name == "step")
                step = index;
            else if (name == "loss")
                loss = index;
            else if (name == "rate")
                rate = index;
        }
    }
    RE2 expression;
    int step = 0, loss = 0, rate = 0; // groups; 0: none
};

ProgressScan::ProgressScan(const std::vector<std::string> &patterns) {
    for (const auto &text : patterns) {
        auto pattern = std::make_unique<Pattern>(text);
        if (pattern->expression.ok())
            patterns_.push_back(std::move(pattern));
    }
}

ProgressScan::~ProgressScan() = default;

ProgressFound ProgressScan::scan(std::string_view line) const {
    ProgressFound found;
    for (const auto &pattern : patterns_) {
        re2::StringPiece groups[most_groups];
        const int count = std::min<int>(pattern->expression.NumberOfCapturingGroups() + 1, most_groups);
        if (!pattern->expression.Match({line.data(), line.size()}, 0, line.size(), RE2::UNANCHORED, groups, count))
            continue;
        const auto group = [&](int index) { return index > 0 && index < count ? groups[index] : re2::StringPiece{}; };
        if (const auto step = parse<std::int64_t>(group(pattern->step)))
            found.step = step;
        if (const auto loss = parse<double>(group(pattern->loss)))
            found.loss = loss;
        if (const auto rate = parse<double>(group(pattern->rate)))
            found.rate = rate;
    }
    return found;
}

} // namespace trainctl
