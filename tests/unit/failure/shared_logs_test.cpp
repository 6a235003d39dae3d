// Real logs from public reports with the cause that each thread established. They are other people's: read where they are.
#include "logs.h"

#include "base/files.h"
#include "base/text.h"

#include <cstdlib>
#include <doctest/doctest.h>
#include <map>

using namespace trainctl;

namespace {

std::string shared_logs() {
    const char *named = std::getenv("TRAINCTL_FAILURE_LOGS");
    return named != nullptr ? named : std::string{TRAINCTL_SOURCE_DIR} + "/../shared/data/failure-logs";
}

const FailureClass *class_of_cause(const std::string &cause) {
    for (const auto &one : builtin_failures().classes)
        for (const auto &name : one.causes)
            if (name == cause)
                return &one;
    return nullptr;
}

// What may be done about a failure of this kind without harm.
bool acceptable(const std::string &kind, FailureAction action) {
    using enum FailureAction;
    if (kind == "resource")
        return action == hand_over || action == stop || action == retry_once;
    if (kind == "transient")
        return action == restart_in_place || action == retry_once || action == hand_over || action == without_node;
    return action == (kind == "node-fault" ? without_node : kind == "deterministic" ? stop : none);
}

} // namespace

TEST_CASE("shared logs: nine of ten classes and nineteen of twenty actions are right, and nothing healthy is called a failure") {
    PosixFiles files;
    const auto folder = shared_logs();
    const auto index = files.read(folder + "/index.tsv");
    if (!index.ok() || !index->has_value()) {
        MESSAGE("not there, so not tested: " << folder << "/index.tsv");
        return;
    }
    int logs = 0, classes = 0, actions = 0, alarms = 0;
    auto rows = split_lines(**index);
    rows.erase(rows.begin());
    for (const auto &row : rows) {
        const auto cells = split(row, '\t');
        REQUIRE(cells.size() >= 3);
        const auto text = files.read(folder + "/" + cells[0]);
        REQUIRE(text.ok());
        REQUIRE(text->has_value());
        const auto *wanted = class_of_cause(cells[1]);
        REQUIRE_MESSAGE(wanted != nullptr, cells[1]);
        const auto got = diagnosed(**text);
        const bool right = got.failure_class == wanted->name, harmless = acceptable(cells[2], got.action);
        if (!right || !harmless)
            MESSAGE(cells[0] << ": wanted " << wanted->name << " (" << cells[2] << "), got " << got.failure_class << ", "
                             << std::string{to_string(got.action)} << (got.evidence.empty() ? "" : " by " + got.evidence[0].rule));
        ++logs;
        classes += right ? 1 : 0;
        actions += harmless ? 1 : 0;
        alarms += wanted->name == "none" && got.failure_class != "none" ? 1 : 0;
    }
    MESSAGE(logs << " logs: " << classes << " classes and " << actions << " actions right, " << alarms << " false alarms");
    CHECK(classes * 100 >= logs * 90);
    CHECK(actions * 100 >= logs * 95);
    CHECK(alarms == 0);
}
