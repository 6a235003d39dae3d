// Evidence of every origin as one list in the order of time, for decide(). Pure; internal to this room.
#pragma once

#include "failure/decide.h"

#include <limits>
#include <vector>

namespace trainctl {

struct WeighedClue {
    static constexpr std::size_t no_log = std::numeric_limits<std::size_t>::max();

    const FailureRule *rule = nullptr;
    const FailureClass *failure_class = nullptr; // mostly the rule's
    Clue shown;
    std::size_t log = no_log;  // index of its log; `no_log` where it is from none
    std::int64_t place = 0;    // orders all clues: the earlier one is smaller
    std::optional<double> at;
    std::int64_t progress_before = 0, progress_after = 0;
    bool after_finish = false;
    std::string node;
    std::optional<int> rank;

    bool proven_beyond_rank() const { return rule->certainty == Certainty::proof && rule->scope != RuleScope::rank; }
};

// Sorted by place: by time where all of several logs' lines have one, else log by log in the order given; what is from no log
// comes last, ranks in the order they died. Lines of rules that the book does not have are left out, and so are lines that
// count only when repeated and were not.
std::vector<WeighedClue> weigh(const FailureBook &book, const Evidence &evidence);

} // namespace trainctl
