// What became of a drill, from the run's own records: what was seen of it and when, how long training stood still, and
// whether it is over. Pure.
//
// Times are of the wall clock of whoever wrote the record: the head's of each attempt. Steps are known to a head when its
// agents report them: the first one of a generation at once, later ones every half second.
#pragma once

#include "run/drill.h"
#include "run/records.h"

#include <map>

namespace trainctl {

// When and into what the faults went.
struct DrillBegin {
    std::string id;
    int attempt = 0, generation = 0;
    std::vector<DrillFault> faults;
    std::int64_t at_ms = 0;     // Unix milliseconds: when the first one came from outside; 0: all are the head's to do
};

struct DrillSeen {
    std::string what;           // "rank 3 on n2 was killed by signal 9"
    double after_s = 0;         // since the fault
};

struct DrillGoesOn {
    int attempt = 0, generation = 0;
    std::string resumed_from;   // a checkpoint's path; empty: from the beginning
    std::int64_t first_step = 0;
    double still_s = 0;         // between the last step before and this one
    bool from_fault = false;    // the last step before is not known: counted from the fault
};

struct DrillStory {
    bool injected = false;      // the head took its part, or there was none
    std::string refused;        // why it did not
    std::int64_t fault_ms = 0;
    std::vector<std::string> done;  // what was done, in the doers' words
    std::vector<DrillSeen> seen;
    std::vector<std::string> ends;  // of generations and attempts since: "rank_failed: rank 3 on n2 was killed by signal 9"
    std::vector<std::string> refused_checkpoints;
    std::optional<std::int64_t> last_step; // before the fault
    std::vector<DrillGoesOn> goes_on;      // each time that training went on
    double still_s = 0;             // all of them
    bool over = false;              // training goes on where this drill lets it
};

struct DrillRecords {
    const std::vector<Event> &events;  // of the whole run, in order
    std::map<int, Outcome> outcomes;   // by attempt
    std::map<int, Verdict> verdicts;
};

DrillStory drill_story(const DrillBegin &begin, const DrillRecords &records);
Json to_json(const DrillStory &story);

} // namespace trainctl
