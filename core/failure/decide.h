// Why a run failed, from all that is known of it: the root before its echoes, and `unknown` rather than a guess. Pure.
// core/failure/README.md has the steps in words.
#pragma once

#include "failure/book.h"
#include "failure/evidence.h"

namespace trainctl {

// One thing that was seen, in the words to show.
struct Clue {
    std::string rule, failure_class;
    std::string source;    // the log's name; "slurm", "rank 3 on n2", "agent on n2" where it is none
    std::int64_t line = 0; // of the log, from 1; 0: not from a log
    std::int64_t count = 1;
    std::string text;
};

struct RejectedClue {
    Clue clue;
    std::string why;
};

// A node or a rank that may be the cause, and why; never proof alone: see `proven`.
struct SuspectEntry {
    std::string node;         // may be empty
    std::optional<int> rank;
    std::string why;
    bool proven = false;      // by words that only the fault itself causes
    int times_before = 0;     // earlier failures that named the node
};

struct Diagnosis {
    std::string failure_class = "unknown";
    FailureAction action = FailureAction::retry_once;
    RestartKind restart = RestartKind::transient; // never deterministic_before_progress
    double confidence = 0;                        // 0 to 1; how such words turned out in known logs, not a probability
    std::string what, hint;                       // one sentence each: what happened, and what a person may do
    std::vector<Clue> evidence;                   // what decided comes first
    std::vector<SuspectEntry> suspects;
    std::vector<RejectedClue> rejected;           // considered, and why it did not win
    bool made_progress = false;                   // before it failed, as far as the logs tell
};

Diagnosis decide(const FailureBook &book, const Evidence &evidence);

} // namespace trainctl
