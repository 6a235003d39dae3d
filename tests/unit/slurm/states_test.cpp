#include "slurm/states.h"

#include <doctest/doctest.h>
#include <set>
#include <string>

using namespace trainctl;

TEST_CASE("states: every word alone, long and compact, means the same") {
    for (const auto &word : state_words()) {
        CAPTURE(word.name);
        CHECK(read_state(word.name).text == word.name);
        if (word.compact.empty())
            continue;
        CHECK(read_state(word.compact).text == word.name);
        CHECK(phase_of(word.compact) == phase_of(word.name));
    }
}

TEST_CASE("states: only terminal bases alone mean ended") {
    const std::set<std::string_view> terminal{"COMPLETED", "CANCELLED", "FAILED",    "TIMEOUT",  "NODE_FAIL",
                                              "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"};
    std::size_t ended = 0;
    for (const auto &word : state_words()) {
        CAPTURE(word.name);
        CHECK((phase_of(word.name) == JobPhase::ended) == terminal.contains(word.name));
        ended += phase_of(word.name) == JobPhase::ended ? 1 : 0;
    }
    CHECK(ended == terminal.size());
}

TEST_CASE("states: what follows a word, lists and cut columns") {
    struct Case {
        const char *words, *text;
        JobPhase phase;
    };
    const Case cases[] = {
        {"RUNNING", "RUNNING", JobPhase::running},
        {"  PENDING \n", "PENDING", JobPhase::pending},
        {"CG", "COMPLETING", JobPhase::running},
        {"COMPLETING", "COMPLETING", JobPhase::running},
        {"COMPLETED,COMPLETING", "COMPLETED,COMPLETING", JobPhase::running},
        {"FAILED+COMPLETING", "FAILED,COMPLETING", JobPhase::running},
        {"PENDING,COMPLETING", "PENDING,COMPLETING", JobPhase::running},
        {"RUNNING, CONFIGURING", "RUNNING,CONFIGURING", JobPhase::running},
        {"CANCELLED,REQUEUED", "CANCELLED,REQUEUED", JobPhase::pending},
        {"FAILED,SPECIAL_EXIT", "FAILED,SPECIAL_EXIT", JobPhase::pending},
        {"FAILED,LAUNCH_FAILED", "FAILED,LAUNCH_FAILED", JobPhase::ended},
        {"LAUNCH_FAILED", "LAUNCH_FAILED", JobPhase::unknown},
        {"COMPLETED,STAGE_OUT", "COMPLETED,STAGE_OUT", JobPhase::running},
        {"REVOKED", "REVOKED", JobPhase::unknown},
        {"completed", "COMPLETED", JobPhase::ended},
        {"OUT_OF_ME+", "OUT_OF_MEMORY", JobPhase::ended},
        {"CANCELLED+", "CANCELLED", JobPhase::ended},
        {"COMPLETED+", "COMPLETED+", JobPhase::unknown},
        {"REQUEUE_+", "REQUEUE_+", JobPhase::unknown},
        {"CO+", "CO+", JobPhase::unknown},
        {"+", "", JobPhase::unknown},
        {"WARMING_UP", "WARMING_UP", JobPhase::unknown},
        {"COMPLETED,WARMING_UP", "COMPLETED,WARMING_UP", JobPhase::unknown},
        {"RUNNING,WARMING_UP", "RUNNING,WARMING_UP", JobPhase::unknown},
        {"?", "?", JobPhase::unknown},
        {"", "", JobPhase::unknown},
    };
    for (const auto &[words, text, phase] : cases) {
        CAPTURE(words);
        CHECK(read_state(words).text == text);
        CHECK(read_state(words).phase == phase);
    }
}

TEST_CASE("states: who cancelled") {
    CHECK(read_state("CANCELLED by 1000").text == "CANCELLED");
    CHECK(read_state("CANCELLED by 1000").phase == JobPhase::ended);
    CHECK(read_state("CANCELLED by 1000").cancelled_by == 1000u);
    CHECK(read_state("CANCELLED by 0").cancelled_by == 0u);
    CHECK_FALSE(read_state("CANCELLED").cancelled_by.has_value());
    CHECK_FALSE(read_state("CANCELLED by alice").cancelled_by.has_value());
    CHECK(read_state("CANCELLED by alice").phase == JobPhase::ended);
    CHECK_FALSE(read_state("CANCELLED by 99999999999").cancelled_by.has_value());
}
