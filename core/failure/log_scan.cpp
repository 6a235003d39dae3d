#include "failure/log_scan.h"

#include "base/text.h"
#include "failure/line_facts.h"
#include "failure/pattern.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

namespace trainctl {

namespace {

// A block of this size and its marks stay in the processor's cache.
constexpr std::size_t scan_bytes = 128u << 10;
constexpr std::size_t shared_bytes = 1024; // of two parts of one line
constexpr std::size_t max_kept_line = 2048; // of a line, until it is known that its event is told

bool counts(RuleRole role) { return role == RuleRole::root || role == RuleRole::cascade || role == RuleRole::wrapper; }

// At most so much of the line, with what lies before `part`, which is of it.
std::string_view around(std::string_view line, std::string_view part, std::size_t most) {
    const auto begin = static_cast<std::size_t>(part.data() - line.data());
    return line.substr(begin > most / 4 ? begin - most / 4 : 0, most);
}

std::string_view with_newline(std::string_view text) {
    const auto end = text.rfind('\n');
    return end == std::string_view::npos ? std::string_view{} : text.substr(0, end + 1);
}

} // namespace

LogScan::LogScan(RuleMatcher &matcher, std::string file) : matcher_(matcher), slow_before_(matcher.without_set()) {
    found_.file = std::move(file);
    const auto &rules = matcher.book().rules;
    links_.resize(rules.size());
    seen_.resize(rules.size());
    kept_.resize(rules.size());
    const auto index_of = [&](const std::string &name) {
        return static_cast<int>(matcher.book().find_rule(name) - rules.data());
    };
    for (std::size_t i = 0; i < rules.size(); ++i) {
        for (const auto &name : rules[i].needs)
            links_[i].needs.push_back(index_of(name));
        for (const auto &name : rules[i].suppresses)
            if (name == "all")
                links_[i].suppresses_all = true;
            else
                links_[i].suppresses.push_back(index_of(name));
    }
}

void LogScan::feed(std::string_view bytes) {
    found_.bytes += static_cast<std::int64_t>(bytes.size());
    while (!bytes.empty()) {
        if (rest_.empty() && !rest_is_part_) {
            const auto whole = with_newline(bytes);
            scan_block(whole);
            rest_ = bytes.substr(whole.size());
            bytes = {};
        } else {
            const auto end = bytes.find('\n');
            const auto taken = std::min(end == std::string_view::npos ? bytes.size() : end + 1, max_line_bytes);
            rest_ += bytes.substr(0, taken);
            bytes.remove_prefix(taken);
            if (ends_with(rest_, "\n")) {
                scan_block(std::exchange(rest_, {}));
                rest_is_part_ = false;
            }
        }
        if (rest_.size() >= max_line_bytes) {
            const std::string part = std::exchange(rest_, rest_.substr(rest_.size() - shared_bytes));
            scan_block(part);
            rest_is_part_ = true;
        }
    }
}

LogFindings LogScan::finish() {
    if (!rest_.empty()) {
        scan_block(std::exchange(rest_, {}));
        found_.matched_lines += line_matched_ ? 1 : 0;
        found_.lines += 1;
    }
    for (std::size_t i = 0; i < kept_.size(); ++i)
        for (auto *events : {&kept_[i].first, &kept_[i].last})
            for (auto &event : *events) {
                complete(static_cast<int>(i), event);
                found_.events.push_back(std::move(event));
            }
    std::stable_sort(found_.events.begin(), found_.events.end(), [](const auto &a, const auto &b) { return a.line < b.line; });
    found_.slow_lines = matcher_.without_set() - slow_before_;
    return std::move(found_);
}

// Whole lines, or the last part of one.
void LogScan::scan_block(std::string_view text) {
    if (text.find('\x1b') != std::string_view::npos) {
        clean_ = text;
        strip_escapes(clean_);
        text = clean_;
    }
    while (!text.empty()) {
        auto part = text.substr(0, scan_bytes);
        if (part.size() < text.size())
            part = with_newline(part);
        if (part.empty()) // one long line
            part = text.substr(0, std::min(text.find('\n'), text.size() - 1) + 1);
        scan_text(part);
        text.remove_prefix(part.size());
    }
}

void LogScan::scan_text(std::string_view text) {
    matcher_.literals().find(text, marks_);
    mark_ = 0;
    const bool returns = text.find('\r') != std::string_view::npos;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        for (std::size_t begin = at; begin < end;) {
            const auto stop = returns ? std::min(text.find('\r', begin), end) : end;
            scan_line(text.substr(begin, stop - begin), begin);
            begin = stop + 1;
        }
        if (end < text.size()) { // a part of a line goes on
            found_.matched_lines += std::exchange(line_matched_, false) ? 1 : 0;
            ++found_.lines;
            ++line_;
        }
        at = end + 1;
    }
}

// A line, or what stands between two carriage returns; `offset` is its place in the block that the marks are of.
void LogScan::scan_line(std::string_view line, std::size_t offset) {
    maybe_.clear();
    for (; mark_ < marks_.size() && marks_[mark_].at < offset + line.size(); ++mark_)
        if (marks_[mark_].at >= offset)
            for (const int pattern : matcher_.literals().patterns_of(marks_[mark_].literal))
                if (std::find(maybe_.begin(), maybe_.end(), pattern) == maybe_.end())
                    maybe_.push_back(pattern);
    matcher_.match(line, maybe_, rules_);
    if (!rules_.empty()) {
        line_matched_ = true;
        take_matches(line);
    } else if (matcher_.is_progress(line)) {
        line_matched_ = true;
        note_progress();
    } else if (found_.progress > 0) {
        note_time(line);
    }
}

void LogScan::take_matches(std::string_view line) {
    for (const int index : rules_)
        if (rule(index).role == RuleRole::context)
            seen_[static_cast<std::size_t>(index)] = line_;
        else if (rule(index).role == RuleRole::finish)
            found_.last_finish_line = line_;
    drop_unfounded();
    drop_suppressed();
    const bool real = std::any_of(rules_.begin(), rules_.end(), [&](int index) { return counts(rule(index).role); });
    const bool known = std::any_of(rules_.begin(), rules_.end(),
                                   [&](int index) { return counts(rule(index).role) && !rule(index).fallback; });
    bool progress = false;
    for (const int index : rules_)
        if (counts(rule(index).role) && !(known && rule(index).fallback))
            keep_event(index, line);
        else
            progress = progress || rule(index).role == RuleRole::progress;
    if (progress && !real)
        note_progress();
    else if (found_.progress > 0)
        note_time(line);
}

void LogScan::drop_unfounded() {
    const auto founded = [&](int index) {
        const auto within = rule(index).within;
        const auto &needs = links_[static_cast<std::size_t>(index)].needs;
        return std::all_of(needs.begin(), needs.end(), [&](int needed) {
            const auto at = seen_[static_cast<std::size_t>(needed)];
            return at > 0 && (!within || line_ - at <= *within);
        });
    };
    std::erase_if(rules_, [&](int index) { return !founded(index); });
}

// A benign line silences all but the proven words of Slurm and of the kernel, which may be glued to it.
void LogScan::drop_suppressed() {
    std::vector<int> gone;
    for (const int index : rules_) {
        const auto &links = links_[static_cast<std::size_t>(index)];
        gone.insert(gone.end(), links.suppresses.begin(), links.suppresses.end());
        if (!links.suppresses_all)
            continue;
        for (const int other : rules_)
            if (other != index && rule(other).role != RuleRole::benign &&
                !(rule(other).certainty == Certainty::proof && rule(other).scope != RuleScope::rank))
                gone.push_back(other);
    }
    std::erase_if(rules_, [&](int index) { return std::find(gone.begin(), gone.end(), index) != gone.end(); });
}

void LogScan::keep_event(int index, std::string_view line) {
    auto &kept = kept_[static_cast<std::size_t>(index)];
    if (rule(index).repeat > 1 && !kept.first.empty()) {
        auto &event = kept.first.front();
        event.count += 1;
        event.last_line = line_;
        event.progress_until = found_.progress;
        return;
    }
    LogEvent *event = nullptr;
    if (kept.first.size() < first_events) {
        event = &kept.first.emplace_back();
    } else if (kept.last.size() < last_events) {
        event = &kept.last.emplace_back();
    } else {
        event = &kept.last[kept.oldest];
        kept.oldest = (kept.oldest + 1) % last_events;
        ++found_.dropped_events;
    }
    event->line = event->last_line = line_;
    event->progress_before = event->progress_until = found_.progress;
    event->text = around(line, line.size() > max_kept_line ? matcher_.part(index, line) : line, max_kept_line);
}

void LogScan::complete(int index, LogEvent &event) const {
    const std::string line = std::exchange(event.text, {});
    event.rule = rule(index).name;
    event.at = time_of_line(line);
    event.host = host_of_line(line);
    event.rank = rank_of_line(line);
    const auto text = trim(line);
    event.text = around(text, text.size() > max_event_text ? matcher_.part(index, text) : text, max_event_text);
    if (rule(index).extract.empty())
        return;
    const RE2 pattern(rule(index).extract, pattern_options());
    std::vector<re2::StringPiece> groups(static_cast<std::size_t>(pattern.NumberOfCapturingGroups()) + 1);
    if (!pattern.Match(line, 0, line.size(), RE2::UNANCHORED, groups.data(), static_cast<int>(groups.size())))
        return;
    for (const auto &[name, number] : pattern.NamedCapturingGroups()) {
        const auto &value = groups[static_cast<std::size_t>(number)];
        int rank = 0;
        if (name == "host" && !value.empty())
            event.host = std::string(value);
        else if (name == "rank" && std::from_chars(value.data(), value.data() + value.size(), rank).ec == std::errc{})
            event.rank = rank;
    }
}

void LogScan::note_progress() {
    ++found_.progress;
    found_.last_progress_line = line_;
    found_.late_times = 0;
}

void LogScan::note_time(std::string_view line) {
    const auto at = time_of_line(line);
    if (!at)
        return;
    found_.first_late = found_.late_times == 0 ? *at : std::min(found_.first_late, *at);
    found_.last_late = found_.late_times == 0 ? *at : std::max(found_.last_late, *at);
    ++found_.late_times;
}

} // namespace trainctl
