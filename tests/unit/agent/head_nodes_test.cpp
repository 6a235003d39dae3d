#include "agent/head_nodes.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("head nodes: lost lines are counted over all nodes, and over agents that were replaced") {
    HeadNodes nodes;
    const auto hear = [&](const std::string &node, const std::string &agent, std::int64_t dropped) {
        Report report;
        report.agent = agent;
        report.dropped_lines = dropped;
        nodes.take(node, report);
    };
    CHECK(nodes.dropped_lines() == 0);
    hear("n1", "a", 3);
    hear("n1", "a", 5); // since its start, not since its last report
    hear("n2", "b", 2);
    CHECK(nodes.dropped_lines() == 7);
    hear("n1", "c", 1); // another agent in its place
    hear("n1", "a", 9); // which says nothing any more
    CHECK(nodes.dropped_lines() == 8);
}
