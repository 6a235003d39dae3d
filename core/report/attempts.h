// What happened in each attempt of a run, gathered from its records in the desk's answer; and how that is said. Pure.
#pragma once

#include "report/answer.h"
#include "report/report.h"

#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// The rank that died first.
struct FirstDeath {
    std::string what; // "rank 3 on n2 was killed by SIGKILL, 14 s after its start"
    std::vector<std::string> last_lines; // clean
};

struct AttemptFacts {
    std::int64_t no = 0;
    std::optional<std::int64_t> job;
    std::string nodes;        // as Slurm writes them, or how many, or the head's host; empty: none yet
    bool claimed = false;     // somebody trained, or tried to, as this attempt
    bool over = false;        // it has an outcome, a verdict, or its submission was refused
    bool standby = false;     // queued behind the attempt before, and nothing else yet
    std::string cause;        // of the end; "finished"; empty while not over
    std::string state;        // one line: how it ended, or what it does now
    std::optional<std::int64_t> from_step, to_step, checkpoint_step;
    std::optional<std::int64_t> began, ended; // Unix seconds: its claim, its outcome
    std::optional<std::int64_t> trained_s;
    std::optional<std::int64_t> heard_s;      // seconds since its head last wrote
    std::optional<FirstDeath> death;
    Json job_record, progress; // null where there is none
};

std::vector<AttemptFacts> attempts_of(const Json &status);

// The attempt that trains, or did last; else the first. Null without attempts.
const AttemptFacts *current_attempt(const std::vector<AttemptFacts> &attempts);

// "| line" each, behind `indent` blanks; at most `limit` of them, the last ones; what is left out is said.
std::string quoted_lines(const std::vector<std::string> &lines, std::size_t limit, std::size_t indent, const ReportStyle &style);

} // namespace trainctl
