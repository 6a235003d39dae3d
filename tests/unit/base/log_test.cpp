#include "base/log.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <vector>

namespace trainctl {

TEST_CASE("log: a line has a time in UTC, a level and a name, and its text as it is") {
    std::vector<std::string> lines;
    {
        Log log{"n1", [&](const std::string &line) { lines.push_back(line); }};
        const Log moved{std::move(log)};
        moved.debug("{} %v\tis text");
        moved.info("begun");
        moved.warning("");
    }
    REQUIRE(lines.size() == 3);
    CHECK(lines[0].substr(20) == " debug n1: {} %v\tis text");
    CHECK(lines[1].substr(20) == " info n1: begun");
    CHECK(lines[2].substr(20) == " warning n1: ");
    for (const auto &line : lines) {
        CAPTURE(line);
        CHECK((line[4] == '-' && line[10] == 'T' && line[16] == ':' && line[19] == 'Z'));
    }
}

} // namespace trainctl
