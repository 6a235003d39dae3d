// Which lines of one block of a log match which rules: the part of a scan that blocks can be given to several threads for.
// Pure but for the matcher's caches.
#pragma once

#include "failure/matcher.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// Lines in a row without a match, or with progress only.
struct QuietLines {
    std::int64_t progress = 0;
    std::int64_t last_progress_line = 0;                       // within the block, from 0
    std::int64_t times = 0, first_time = 0, last_time = 0;     // on the lines after the last progress, or on all
    void add_progress(std::int64_t line) { progress += 1, last_progress_line = line, times = 0; }
    void add_time(std::int64_t at);
};

struct LineMatch {
    std::int64_t line = 0;           // within the block, from 0
    std::string_view text;           // into the block; what stands between two carriage returns is a line of its own
    std::uint32_t first = 0, count = 0; // of BlockMatches::rules
    QuietLines before;               // since the match before
};

struct BlockMatches {
    std::string clean;               // the block where it had to be changed: the lines' texts are in it
    std::vector<LineMatch> lines;
    std::vector<int> rules;          // indices in the book
    QuietLines after;                // the last match
    std::int64_t newlines = 0;
    std::int64_t matched_lines = 0;  // of those that end in the block; each line counts once, whatever stands between
    bool first_matched = false;      // the line that ends with the first newline
    bool open_matched = false;       // what stands behind the last newline
};

class BlockMatcher {
public:
    explicit BlockMatcher(RuleMatcher &matcher) : matcher_(matcher) {}
    // `text` must outlive the result; its colours are removed.
    void match(std::string_view text, BlockMatches &into);

private:
    void match_text(std::string_view text, BlockMatches &into);
    void match_line(std::string_view line, std::size_t offset, BlockMatches &into);

    RuleMatcher &matcher_;
    std::vector<LiteralFinder::Mark> marks_;
    std::size_t mark_ = 0;           // the next one
    std::vector<int> maybe_, rules_; // of the line at hand
    bool line_matched_ = false;      // the line that is not over yet
};

} // namespace trainctl
