#include "failure/matcher.h"

#include "base/invariant.h"
#include "failure/pattern.h"

#include <algorithm>

namespace trainctl {

namespace {

// With more rules than this in question the set is faster than one after another: each new kind of line costs it new states.
constexpr std::size_t few_rules = 16;

std::unique_ptr<RE2> any_of(const std::vector<std::string> &patterns) {
    std::string text;
    for (const auto &pattern : patterns)
        text += (text.empty() ? "(?:" : "|(?:") + pattern + ")";
    return patterns.empty() ? nullptr : std::make_unique<RE2>(text, pattern_options());
}

} // namespace

std::vector<std::string> RuleMatcher::filtered_patterns(const FailureBook &book, std::vector<int> &rules) {
    std::vector<std::string> patterns;
    for (std::size_t i = 0; i < book.rules.size(); ++i)
        if (!book.rules[i].pattern.empty() && book.rules[i].role != RuleRole::progress) {
            patterns.push_back(book.rules[i].pattern);
            rules.push_back(static_cast<int>(i));
        }
    return patterns;
}

RuleMatcher::RuleMatcher(const FailureBook &book, std::int64_t max_memory)
    : book_(book), literals_(filtered_patterns(book, by_pattern_)), set_(pattern_options(max_memory), RE2::UNANCHORED) {
    std::vector<std::string> progress, always;
    for (std::size_t i = 0; i < book.rules.size(); ++i) {
        const auto &rule = book.rules[i];
        alone_.push_back(rule.pattern.empty() ? nullptr : std::make_unique<RE2>(rule.pattern, pattern_options()));
        if (rule.pattern.empty())
            continue;
        INVARIANT(alone_.back()->ok()); // the book has no others
        if (set_.Add(rule.pattern, nullptr) >= 0)
            by_set_.push_back(static_cast<int>(i));
        if (rule.role == RuleRole::progress) {
            progress.push_back(rule.pattern);
            progress_rules_.push_back(static_cast<int>(i));
        }
    }
    for (const int pattern : literals_.unfiltered())
        always.push_back(book.rules[static_cast<std::size_t>(by_pattern_[static_cast<std::size_t>(pattern)])].pattern);
    progress_ = any_of(progress);
    always_ = any_of(always);
    set_works_ = set_.Compile();
}

// A rule matches only where one of its words stands, or where it has none: so a few in question are tried one by one, and the
// set, which costs as much as several, reads the lines of many.
void RuleMatcher::match(std::string_view line, const std::vector<int> &maybe, std::vector<int> &rules) {
    rules.clear();
    const bool always = always_ && matches(*always_, line);
    if (maybe.size() > few_rules || always) {
        match_all(line, rules);
        return;
    }
    for (const int pattern : maybe)
        if (const int rule = by_pattern_[static_cast<std::size_t>(pattern)]; matches_alone(rule, line))
            rules.push_back(rule);
    if (rules.empty())
        return;
    if (is_progress(line))
        for (const int rule : progress_rules_)
            if (matches_alone(rule, line))
                rules.push_back(rule);
    std::sort(rules.begin(), rules.end());
}

void RuleMatcher::match_all(std::string_view line, std::vector<int> &rules) {
    rules.clear();
    RE2::Set::ErrorInfo problem{RE2::Set::kNoError};
    if (set_works_ && set_.Match(view(line), &rules, &problem)) {
        for (int &index : rules)
            index = by_set_[static_cast<std::size_t>(index)];
        std::sort(rules.begin(), rules.end());
        return;
    }
    if (set_works_ && problem.kind == RE2::Set::kNoError)
        return;
    ++without_set_;
    rules.clear();
    for (std::size_t i = 0; i < alone_.size(); ++i)
        if (alone_[i] && matches(*alone_[i], line))
            rules.push_back(static_cast<int>(i));
}

std::string_view RuleMatcher::part(int rule, std::string_view line) const {
    re2::StringPiece found;
    const auto &pattern = alone_[static_cast<std::size_t>(rule)];
    if (!pattern || !pattern->Match(view(line), 0, line.size(), RE2::UNANCHORED, &found, 1))
        return line;
    return {found.data(), found.size()};
}

} // namespace trainctl
