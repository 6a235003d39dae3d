// A failure of a run as it was judged, and what was decided: kept in outcome.json, verdict.json and the journal, so that the
// next one to decide knows what was tried. A value; core/failure judges, recovery/ruling decides.
#pragma once

#include "base/json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// Something that was seen, in the words to show.
struct FailureClue {
    std::string source;    // a log's path below the attempt's folder; "slurm", "rank 3 on n2" where it is none
    std::int64_t line = 0; // from 1; 0: not from a log
    std::string text, failure_class;
    std::string why_not;   // of one that did not win
    bool operator==(const FailureClue &) const = default;
};

struct FailureSuspect {
    std::string node;
    int rank = -1;         // -1: none alone
    std::string why;
    bool proven = false;   // by words that only a fault of the node causes
    bool operator==(const FailureSuspect &) const = default;
};

enum class RulingKind { restart_in_place, hand_over, stop };
const char *to_string(RulingKind kind);

struct Failure {
    std::string failure_class = "unknown", what, hint;
    double confidence = 0;
    std::vector<FailureClue> evidence, rejected; // what decided comes first
    std::vector<FailureSuspect> suspects;
    std::string action;               // the default: "restart-in-place", "without-node", "hand-over", "retry-once", "stop"
    std::string restart;              // why another try may help: "deterministic", "node-fault", "resource", "transient"
    std::string sign;                 // the same where the same error came again; empty: nothing to tell it by
    std::optional<std::int64_t> step; // that the training had reached
    int attempt = 0, generation = 0;  // generation 0: before any
    std::int64_t when = 0;            // Unix seconds
    double lost_s = 0;                // of training, since the checkpoint that it goes on from
    // Decided:
    RulingKind ruling = RulingKind::restart_in_place;
    std::string reason;
    std::vector<std::string> avoid;   // nodes, from now on
    int roll_back = 0;                // checkpoints before the newest one
    double wait_s = 0;
    bool operator==(const Failure &) const = default;
};

// At most so many clues of each kind are kept, of at most so many bytes.
inline constexpr std::size_t most_kept_clues = 8, most_clue_bytes = 400;

Json to_json(const Failure &failure);
// Unknown keys are ignored, missing ones keep their defaults. Throws Json::exception where one is of the wrong type.
Failure failure_from_json(const Json &json);

} // namespace trainctl
