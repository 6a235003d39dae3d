#include "failure/block_matches.h"

#include "failure/line_facts.h"

#include <algorithm>
#include <utility>

namespace trainctl {

namespace {

// A text of this size and its marks stay in the processor's cache.
constexpr std::size_t cached_bytes = 128u << 10;

std::string_view up_to_newline(std::string_view text) {
    const auto end = text.rfind('\n');
    return end == std::string_view::npos ? std::string_view{} : text.substr(0, end + 1);
}

} // namespace

void QuietLines::add_time(std::int64_t at) {
    first_time = times == 0 ? at : std::min(first_time, at);
    last_time = times == 0 ? at : std::max(last_time, at);
    ++times;
}

void BlockMatcher::match(std::string_view text, BlockMatches &into) {
    into.lines.clear();
    into.rules.clear();
    into.after = {};
    into.newlines = into.matched_lines = 0;
    into.first_matched = line_matched_ = false;
    if (text.find('\x1b') != std::string_view::npos) {
        into.clean = text;
        strip_escapes(into.clean);
        text = into.clean;
    }
    while (!text.empty()) {
        auto part = text.substr(0, cached_bytes);
        if (part.size() < text.size())
            part = up_to_newline(part);
        if (part.empty()) // one long line
            part = text.substr(0, std::min(text.find('\n'), text.size() - 1) + 1);
        match_text(part, into);
        text.remove_prefix(part.size());
    }
    into.open_matched = line_matched_;
}

void BlockMatcher::match_text(std::string_view text, BlockMatches &into) {
    matcher_.literals().find(text, marks_);
    mark_ = 0;
    const bool returns = text.find('\r') != std::string_view::npos;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        for (std::size_t begin = at; begin < end;) {
            const auto stop = returns ? std::min(text.find('\r', begin), end) : end;
            match_line(text.substr(begin, stop - begin), begin, into);
            begin = stop + 1;
        }
        if (end < text.size()) {
            const bool matched = std::exchange(line_matched_, false);
            into.first_matched = into.newlines == 0 ? matched : into.first_matched;
            into.matched_lines += matched ? 1 : 0;
            ++into.newlines;
        }
        at = end + 1;
    }
}

// `offset` is the line's place in the text that the marks are of.
void BlockMatcher::match_line(std::string_view line, std::size_t offset, BlockMatches &into) {
    maybe_.clear();
    for (; mark_ < marks_.size() && marks_[mark_].at < offset + line.size(); ++mark_)
        if (marks_[mark_].at >= offset)
            for (const int pattern : matcher_.literals().patterns_of(marks_[mark_].literal))
                if (std::find(maybe_.begin(), maybe_.end(), pattern) == maybe_.end())
                    maybe_.push_back(pattern);
    const auto printed = line.substr(launcher_prefix(line));
    matcher_.match(printed, maybe_, rules_);
    if (!rules_.empty()) {
        line_matched_ = true;
        into.lines.push_back({into.newlines, line, static_cast<std::uint32_t>(into.rules.size()),
                              static_cast<std::uint32_t>(rules_.size()), std::exchange(into.after, {})});
        into.rules.insert(into.rules.end(), rules_.begin(), rules_.end());
    } else if (matcher_.is_progress(printed)) {
        line_matched_ = true;
        into.after.add_progress(into.newlines);
    } else if (const auto at = time_of_line(line)) {
        into.after.add_time(*at);
    }
}

} // namespace trainctl
