// Where in a text a rule can match at all: finds the words without which a pattern can't match, several hundred of them
// at once, faster than an automaton reads. Says "maybe" too often and "no" never wrongly. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

class LiteralFinder {
public:
    // One for each pattern, by its index; patterns are in RE2's syntax and valid.
    explicit LiteralFinder(const std::vector<std::string> &patterns);

    // Patterns without such words: nothing is said of them.
    const std::vector<int> &unfiltered() const { return unfiltered_; }
    // Words so short that each costs a search of its own.
    std::size_t searched_alone() const { return short_.size(); }

    struct Mark {
        std::uint32_t at = 0;      // byte of the text that lies in the word
        std::uint32_t literal = 0; // for patterns_of
    };
    // In the order of `at`. The text is shorter than 4 GiB; letters of both cases are taken as one.
    void find(std::string_view text, std::vector<Mark> &marks) const;
    const std::vector<int> &patterns_of(std::uint32_t literal) const { return literals_[literal].patterns; }

private:
    struct Literal {
        std::string text; // folded
        std::vector<int> patterns;
    };
    struct Slot {
        std::uint32_t gram = 0, first = 0, count = 0; // of entries_
    };
    struct Entry {
        std::uint32_t gram = 0, literal = 0, offset = 0;
    };

    std::vector<std::string> words_for(const std::string &pattern) const;
    void build_table();
    const Slot *slot_of(std::uint32_t gram) const;
    void check(std::string_view text, std::size_t at, std::vector<Mark> &marks) const;
    void find_short(std::string_view text, std::uint32_t literal, std::vector<Mark> &marks) const;

    std::vector<Literal> literals_;
    std::vector<std::uint32_t> short_; // of literals_
    std::vector<int> unfiltered_;
    std::vector<std::uint64_t> bits_;  // one for each hash of a gram
    std::vector<Slot> slots_;
    std::vector<Entry> entries_;
};

} // namespace trainctl
