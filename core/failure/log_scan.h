// One pass over a log, in blocks as they come: which rules match which lines, and what of that counts as an event.
// Memory is bounded: by the block that is fed, the longest line that is looked at whole, and the events kept of each rule. Pure.
#pragma once

#include "failure/block_matches.h"
#include "failure/log_findings.h"

#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// A line longer than this is looked at in parts of this size, which share 1 KiB with the part before: a match longer than
// that may be missed where two parts meet.
inline constexpr std::size_t max_line_bytes = 256u << 10;
// Of one rule these are kept: how it began, and how it ended.
inline constexpr std::size_t first_events = 32, last_events = 8;

class LogScan {
public:
    // A matcher is used by one scan at a time.
    LogScan(RuleMatcher &matcher, std::string file);
    // Large blocks are shared with a thread for each helper, which has a matcher of its own for the same book.
    void add_helper(RuleMatcher &matcher);

    // The number of the first line that is fed; 1 otherwise. Before the first feed only.
    void begin_at_line(std::int64_t line) { line_ = line; }
    void feed(std::string_view bytes);
    // The last line needs no newline. Nothing is fed afterwards.
    LogFindings finish();

private:
    // An event whose text is still the line, or the part of a long one that matters: most are dropped again unread.
    struct Kept {
        std::vector<LogEvent> first, last;
        std::size_t oldest = 0; // of the last ones
    };
    struct RuleLinks {
        std::vector<int> needs, unless, suppresses;
        bool suppresses_all = false;
    };

    void scan_block(std::string_view text);
    void take_block(const BlockMatches &block);
    void take_quiet(const QuietLines &lines);
    void take_line(const LineMatch &match, const std::vector<int> &rules);
    void drop_unfounded();
    void drop_suppressed();
    void keep_event(int rule, std::string_view line);
    void complete(int rule, LogEvent &event) const;
    const FailureRule &rule(int index) const { return book_.rules[static_cast<std::size_t>(index)]; }
    std::int64_t slow_lines() const;

    std::vector<RuleMatcher *> matchers_;
    const FailureBook &book_;
    LogFindings found_;
    QuietLines quiet_;                     // since the last line that counts as more than progress; lines of the log
    std::string rest_;                     // a line without its end yet
    bool rest_is_part_ = false;            // of a line of which a part was looked at
    bool line_matched_ = false;            // the line that is not over yet
    bool finished_ = false;                // the program said that it is done, and nothing went on after it
    std::int64_t line_ = 1;                // the first one of the next block
    std::int64_t at_ = 1;                  // the one at hand
    std::vector<BlockMatcher> workers_;
    std::vector<BlockMatches> blocks_;     // of each part of a block
    std::vector<RuleLinks> links_;         // of each rule
    std::vector<std::int64_t> seen_;       // of each rule: line of its last match; 0: none
    std::vector<Kept> kept_;               // of each rule
    std::vector<int> rules_;               // of the line at hand
    std::int64_t slow_before_ = 0;
};

} // namespace trainctl
