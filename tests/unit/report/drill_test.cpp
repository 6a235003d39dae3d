#include "report/report.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("report drill: what was done, seen, how it ended and how long training stood still") {
    const auto story = Json::parse(R"({"run": "gpt-abcde", "faults": [{"kind": "crash"}], "done": ["SIGKILL for rank 3 (pid 9) on n2"], "over": true,
        "seen": [{"what": "rank 3 on n2 was killed by signal 9", "after_s": 0.0124}],
        "ends": ["generation 1 rank_failed: rank 3 on n2 was killed by signal 9"], "last_step": 42, "still_s": 1.5,
        "goes_on": [{"attempt": 1, "generation": 2, "resumed_from": "/c/step-000040", "first_step": 41, "from_fault": false}]})");
    CHECK(drill_text(story) == "gpt-abcde: crash\n"
                               "  done         SIGKILL for rank 3 (pid 9) on n2\n"
                               "  seen         0.012 s later: rank 3 on n2 was killed by signal 9\n"
                               "  ended        generation 1 rank_failed: rank 3 on n2 was killed by signal 9\n"
                               "  goes on      attempt 1, generation 2, from step-000040: step 41\n"
                               "  stood still  1.50 s, since step 42\n");
}

TEST_CASE("report drill: what is not known or not over is said") {
    auto story = Json::parse(R"({"run": "gpt-abcde", "faults": [{"kind": "disk-full"}], "over": false})");
    CHECK(drill_text(story).find("nothing broke, and the training goes on") != std::string::npos);
    story["ended"] = {{"kind", "failed"}, {"why", "no newer checkpoint"}};
    CHECK(drill_text(story).find("has ended: failed, no newer checkpoint") != std::string::npos);
    CHECK(drill_text(Json::object()).find(":") != std::string::npos); // of another version: no harm
}
