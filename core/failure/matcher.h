// Which rules of a book match a line: all of them, every time, whatever memory RE2 has. Pure but for caches inside.
#pragma once

#include "failure/book.h"
#include "failure/literals.h"

#include <memory>
#include <re2/re2.h>
#include <re2/set.h>
#include <vector>

namespace trainctl {

class RuleMatcher {
public:
    // For RE2::Set, whose automaton grows with the kinds of lines it sees and starts anew when this is full.
    static constexpr std::int64_t default_memory = 64 << 20;

    // `book` must outlive it.
    explicit RuleMatcher(const FailureBook &book, std::int64_t max_memory = default_memory);

    const FailureBook &book() const { return book_; }
    const LiteralFinder &literals() const { return literals_; }

    // Indices of the rules in the book, ascending. `maybe` are the patterns (of LiteralFinder) with a word on this line;
    // without any of them only rules that have no such words are tried.
    void match(std::string_view line, const std::vector<int> &maybe, std::vector<int> &rules);
    // The same without the literals.
    void match_all(std::string_view line, std::vector<int> &rules);
    // Only rules of progress match: asked of lines for which match() gave nothing.
    bool is_progress(std::string_view line) const { return progress_ && matches(*progress_, line); }

    // Where in the line the rule matches; the whole line where it does not.
    std::string_view part(int rule, std::string_view line) const;

    // Lines that the set could not do for want of memory; each rule was tried alone then.
    std::int64_t without_set() const { return without_set_; }

private:
    static re2::StringPiece view(std::string_view text) { return {text.data(), text.size()}; }
    static bool matches(const RE2 &pattern, std::string_view line) {
        return pattern.Match(view(line), 0, line.size(), RE2::UNANCHORED, nullptr, 0);
    }
    bool matches_alone(int rule, std::string_view line) const { return matches(*alone_[static_cast<std::size_t>(rule)], line); }
    static std::vector<std::string> filtered_patterns(const FailureBook &book, std::vector<int> &rules);

    const FailureBook &book_;
    std::vector<int> by_pattern_;              // of the literals' patterns: the rule
    LiteralFinder literals_;
    std::vector<std::unique_ptr<RE2>> alone_;  // of each rule; none for rules with a fact
    RE2::Set set_;
    std::vector<int> by_set_;                  // of the set's patterns: the rule
    bool set_works_ = false;
    std::vector<int> progress_rules_;
    std::unique_ptr<RE2> progress_, always_;   // of progress, and of other rules without literals; none where there are none
    std::int64_t without_set_ = 0;
};

} // namespace trainctl
