// What one pass over a log found that matters for why a run failed: bounded, whatever the log's size. Values only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// Lines of one rule that stand for one another: one line, or all lines of a rule that counts them.
struct LogEvent {
    std::string rule;
    std::int64_t line = 0, last_line = 0; // from 1, of the first and the last
    std::int64_t count = 1;
    std::string text;                     // of the first, without colours; at most max_event_text bytes
    std::int64_t progress_before = 0;     // lines of progress before the first
    std::int64_t progress_until = 0;      // and before the last
    bool after_finish = false;            // the program had said that it was done
    std::optional<std::int64_t> at;       // Unix seconds as if UTC, where the line has a date and a time
    std::string host;                     // as the line names it; may be empty
    std::optional<int> rank;
};

struct LogFindings {
    std::string file;                     // for people
    std::vector<LogEvent> events;         // by line; of each rule the first and the last ones
    std::int64_t lines = 0, bytes = 0;
    std::int64_t matched_lines = 0;       // that any rule matches
    std::int64_t progress = 0;            // lines; a bar that is drawn anew counts each time
    std::int64_t last_progress_line = 0, last_finish_line = 0; // 0: none
    std::int64_t dropped_events = 0;      // beyond the bound
    std::int64_t slow_lines = 0;          // for which RE2::Set had too little memory: matched one by one
    // Times on lines after the last progress.
    std::int64_t late_times = 0, first_late = 0, last_late = 0;
};

inline constexpr std::size_t max_event_text = 400;

} // namespace trainctl
