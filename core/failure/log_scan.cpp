#include "failure/log_scan.h"

#include "base/text.h"
#include "failure/line_facts.h"
#include "failure/pattern.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <future>
#include <numeric>
#include <utility>

namespace trainctl {

namespace {

constexpr std::size_t part_bytes = 256u << 10; // that a thread takes at once: half a millisecond of work
constexpr std::size_t shared_bytes = 1024; // of two parts of one line
constexpr std::string_view own_words = "trainctl-agent: ";
constexpr std::size_t max_kept_line = 2048; // of a line, until it is known that its event is told

bool counts(RuleRole role) { return role == RuleRole::root || role == RuleRole::cascade || role == RuleRole::wrapper; }

// At most so much of the line, with what lies before `part`, which is of it.
std::string_view around(std::string_view line, std::string_view part, std::size_t most) {
    const auto begin = static_cast<std::size_t>(part.data() - line.data());
    return line.substr(begin > most / 4 ? begin - most / 4 : 0, most);
}

std::string_view printed(std::string_view line) { return line.substr(launcher_prefix(line)); }

std::string_view with_newline(std::string_view text) {
    const auto end = text.rfind('\n');
    return end == std::string_view::npos ? std::string_view{} : text.substr(0, end + 1);
}

} // namespace

LogScan::LogScan(RuleMatcher &matcher, std::string file) : book_(matcher.book()) {
    add_helper(matcher);
    found_.file = std::move(file);
    const auto &rules = book_.rules;
    links_.resize(rules.size());
    seen_.resize(rules.size());
    kept_.resize(rules.size());
    const auto index_of = [&](const std::string &name) {
        return static_cast<int>(book_.find_rule(name) - rules.data());
    };
    for (std::size_t i = 0; i < rules.size(); ++i) {
        for (const auto &name : rules[i].needs)
            links_[i].needs.push_back(index_of(name));
        for (const auto &name : rules[i].unless)
            links_[i].unless.push_back(index_of(name));
        for (const auto &name : rules[i].suppresses)
            if (name == "all")
                links_[i].suppresses_all = true;
            else
                links_[i].suppresses.push_back(index_of(name));
    }
}

void LogScan::add_helper(RuleMatcher &matcher) {
    matchers_.push_back(&matcher);
    workers_.emplace_back(matcher);
    slow_before_ += matcher.without_set();
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
    found_.slow_lines = slow_lines() - slow_before_;
    found_.late_times = quiet_.times;
    found_.first_late = quiet_.first_time;
    found_.last_late = quiet_.last_time;
    return std::move(found_);
}

std::int64_t LogScan::slow_lines() const {
    return std::accumulate(matchers_.begin(), matchers_.end(), std::int64_t{0},
                           [](std::int64_t sum, const auto *matcher) { return sum + matcher->without_set(); });
}

// Whole lines, or the last part of one. Each worker takes the next part that nobody has, so that one that gets little of the
// processor delays the others by a part at most.
void LogScan::scan_block(std::string_view text) {
    std::vector<std::string_view> parts;
    for (; text.size() > 2 * part_bytes && workers_.size() > 1; text.remove_prefix(parts.back().size())) {
        const auto part = with_newline(text.substr(0, part_bytes));
        if (part.empty())
            break;
        parts.push_back(part);
    }
    parts.push_back(text);
    if (blocks_.size() < parts.size())
        blocks_.resize(parts.size());
    std::atomic<std::size_t> next = 0;
    const auto work = [&](BlockMatcher &worker) {
        for (std::size_t i = next++; i < parts.size(); i = next++)
            worker.match(parts[i], blocks_[i]);
    };
    std::vector<std::future<void>> others;
    for (std::size_t i = 1; i < std::min(workers_.size(), parts.size()); ++i)
        others.push_back(std::async(std::launch::async, [&, i] { work(workers_[i]); }));
    work(workers_[0]);
    for (auto &other : others)
        other.get();
    for (std::size_t i = 0; i < parts.size(); ++i)
        take_block(blocks_[i]);
}

void LogScan::take_block(const BlockMatches &block) {
    for (const auto &match : block.lines) {
        take_quiet(match.before);
        take_line(match, block.rules);
    }
    take_quiet(block.after);
    found_.matched_lines += block.matched_lines + (line_matched_ && block.newlines > 0 && !block.first_matched ? 1 : 0);
    line_matched_ = block.open_matched || (line_matched_ && block.newlines == 0);
    found_.lines += block.newlines;
    line_ += block.newlines;
}

void LogScan::take_quiet(const QuietLines &lines) {
    if (lines.progress > 0) {
        found_.progress += lines.progress;
        found_.last_progress_line = line_ + lines.last_progress_line;
        finished_ = false;
        quiet_ = {};
    }
    if (lines.times > 0 && found_.progress > 0) {
        const auto times = quiet_.times + lines.times;
        quiet_.add_time(lines.first_time);
        quiet_.add_time(lines.last_time);
        quiet_.times = times;
    }
}

void LogScan::take_line(const LineMatch &match, const std::vector<int> &rules) {
    if (starts_with(match.text, own_words)) // what was done about the run, not what befell it
        return;
    rules_.assign(rules.begin() + match.first, rules.begin() + match.first + match.count);
    at_ = line_ + match.line;
    for (const int index : rules_)
        if (rule(index).role == RuleRole::context)
            seen_[static_cast<std::size_t>(index)] = at_;
        else if (rule(index).role == RuleRole::finish)
            finished_ = true, found_.last_finish_line = at_;
    drop_unfounded();
    drop_suppressed();
    const bool real = std::any_of(rules_.begin(), rules_.end(), [&](int index) { return counts(rule(index).role); });
    const bool known = std::any_of(rules_.begin(), rules_.end(),
                                   [&](int index) { return counts(rule(index).role) && !rule(index).fallback; });
    bool progress = false;
    for (const int index : rules_)
        if (counts(rule(index).role) && !(known && rule(index).fallback))
            keep_event(index, match.text);
        else
            progress = progress || rule(index).role == RuleRole::progress;
    QuietLines line;
    if (progress && !real)
        line.add_progress(match.line);
    else if (const auto at = found_.progress > 0 ? time_of_line(match.text) : std::nullopt)
        line.add_time(*at);
    take_quiet(line);
}

void LogScan::drop_unfounded() {
    const auto founded = [&](int index) {
        const auto within = rule(index).within;
        const auto &[needs, unless, suppresses, all] = links_[static_cast<std::size_t>(index)];
        for (const int other : unless)
            if (const auto at = seen_[static_cast<std::size_t>(other)]; at > 0 && at_ - at <= unless_lines)
                return false;
        return std::all_of(needs.begin(), needs.end(), [&](int needed) {
            const auto at = seen_[static_cast<std::size_t>(needed)];
            return at > 0 && (!within || at_ - at <= *within);
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
        event.last_line = at_;
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
    event->line = event->last_line = at_;
    event->after_finish = finished_;
    event->progress_before = event->progress_until = found_.progress;
    event->text = around(line, line.size() > max_kept_line ? matchers_.front()->part(index, printed(line)) : line, max_kept_line);
}

void LogScan::complete(int index, LogEvent &event) const {
    const std::string line = std::exchange(event.text, {});
    event.rule = rule(index).name;
    event.at = time_of_line(line);
    event.host = host_of_line(line);
    event.rank = rank_of_line(line);
    const auto text = trim(line);
    event.text = around(text, text.size() > max_event_text ? matchers_.front()->part(index, printed(text)) : text, max_event_text);
    if (rule(index).extract.empty())
        return;
    const RE2 pattern(rule(index).extract, pattern_options());
    std::vector<re2::StringPiece> groups(static_cast<std::size_t>(pattern.NumberOfCapturingGroups()) + 1);
    const auto words = printed(line);
    if (!pattern.Match({words.data(), words.size()}, 0, words.size(), RE2::UNANCHORED, groups.data(), static_cast<int>(groups.size())))
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

} // namespace trainctl
