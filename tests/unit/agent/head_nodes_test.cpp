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

TEST_CASE("head nodes: what an agent saw comes before the word that its ranks are dead, with its node's name") {
    HeadNodes nodes;
    Report report;
    report.agent = "a";
    report.generation = report.dead_generation = 2;
    CHECK(nodes.take("n1", report).inputs.size() == 2); // of an agent that sees nothing: it is heard, and its ranks are dead
    report.sight.generation = 2;
    report.sight.oom_kills = 1;
    const auto inputs = nodes.take("n1", report).inputs;
    REQUIRE(inputs.size() == 3);
    REQUIRE(std::holds_alternative<NodeSaw>(inputs[1]));
    CHECK(std::get<NodeSaw>(inputs[1]).sight.node == "n1");
    CHECK(std::get<NodeSaw>(inputs[1]).sight.oom_kills == 1);
    CHECK(std::holds_alternative<NodeRanksDead>(inputs[2]));
}
