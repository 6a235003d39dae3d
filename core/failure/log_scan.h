// One pass over a log, in blocks as they come: which rules match which lines, and what of that counts as an event.
// Memory is bounded: by the longest line that is looked at whole, and by the events kept of each rule. Pure.
#pragma once

#include "failure/log_findings.h"
#include "failure/matcher.h"

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
    // `matcher` is used by one scan at a time, and may be used by the next one.
    LogScan(RuleMatcher &matcher, std::string file);

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
        std::vector<int> needs, suppresses;
        bool suppresses_all = false;
    };

    void scan_block(std::string_view text);
    void scan_text(std::string_view text);
    void scan_line(std::string_view line, std::size_t offset);
    void take_matches(std::string_view line);
    void drop_unfounded();
    void drop_suppressed();
    void keep_event(int rule, std::string_view line);
    void complete(int rule, LogEvent &event) const;
    void note_progress();
    void note_time(std::string_view line);
    const FailureRule &rule(int index) const { return matcher_.book().rules[static_cast<std::size_t>(index)]; }

    RuleMatcher &matcher_;
    LogFindings found_;
    std::string rest_, clean_;             // a line without its end yet; a block without colours
    bool rest_is_part_ = false;            // of a line of which a part was looked at
    bool line_matched_ = false;            // the line that is not over yet
    std::int64_t line_ = 1;
    std::vector<RuleLinks> links_;         // of each rule
    std::vector<std::int64_t> seen_;       // of each rule: line of its last match; 0: none
    std::vector<Kept> kept_;               // of each rule
    std::vector<LiteralFinder::Mark> marks_;
    std::size_t mark_ = 0;                 // the next one
    std::vector<int> maybe_, rules_;       // of the line at hand
    std::int64_t slow_before_ = 0;
};

} // namespace trainctl
