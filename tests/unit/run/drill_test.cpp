#include "run/drill_story.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

DrillScene three_nodes() { return {1, 2, "n1", {"n1", "n2", "n3"}, 2}; }

std::vector<DrillFault> placed(const std::vector<DrillKind> &kinds, const DrillTarget &target = {}, const DrillScene &scene = three_nodes()) {
    const auto out = place_faults(kinds, target, scene);
    REQUIRE(out);
    return *out;
}

// A journal written by hand: one head, a clock in milliseconds.
struct Story {
    DrillBegin begin{"d1", 1, 1, {{DrillKind::crash, 3, "n2", 0}}, 0};
    std::vector<Event> events;

    Story &add(std::int64_t at_ms, const std::string &name, Json data, int attempt = 1) {
        events.push_back({"job", events.size() + 1, attempt, 0, at_ms, name, std::move(data)});
        return *this;
    }
    Story &last_step(std::int64_t at_ms, int generation, int step, double ago_s) { return add(at_ms, "last_step", {{"generation", generation}, {"step", step}, {"ago_s", ago_s}}); }
    Story &first_step(std::int64_t at_ms, int generation, int step, int attempt = 1) { return add(at_ms, "first_step", {{"generation", generation}, {"step", step}}, attempt); }
    DrillStory tell() const { return drill_story(begin, {events, {}, {}}); }
};

Story crashed() {
    Story story;
    story.add(900, "rank_exited", {{"rank", 0}, {"node", "n1"}, {"exit_code", 1}}); // before: not of this drill
    story.add(1000, "drill", {{"id", "d1"}});
    story.add(1010, "drill_done", {{"id", "d1"}, {"text", "SIGKILL for rank 3"}});
    story.add(1020, "rank_exited", {{"rank", 3}, {"node", "n2"}, {"exit_code", 0}, {"signal", 9}});
    story.add(1025, "ranks_killed", {{"generation", 1}});
    story.add(1030, "rank_exited", {{"rank", 2}, {"node", "n2"}, {"exit_code", 0}, {"signal", 9}}); // by the head
    story.last_step(1050, 1, 42, 0.25);
    story.add(1050, "generation_ended", {{"generation", 1}, {"kind", "rank_failed"}, {"text", "rank 3 on n2 was killed by signal 9"}});
    return story;
}

} // namespace

TEST_CASE("drill: every kind has a name that is understood again, and a wrong one is told what there is") {
    for (const auto kind : all_drill_kinds()) {
        const auto kinds = drill_kinds({to_string(kind)});
        REQUIRE(kinds);
        CHECK(kinds->front() == kind);
    }
    const auto wrong = drill_kinds({"crush"});
    REQUIRE(!wrong);
    CHECK(wrong.error().message.find("did you mean 'crash'") != std::string::npos);
    CHECK(!drill_kinds({"crash", "crash"}));
}

TEST_CASE("drill: what hurts a node or the machine is for sandboxes only") {
    for (const auto kind : all_drill_kinds()) {
        CAPTURE(to_string(kind));
        const bool gentle = kind == DrillKind::crash || kind == DrillKind::hang || kind == DrillKind::oom || kind == DrillKind::time_limit || kind == DrillKind::corrupt_checkpoint;
        CHECK(traits(kind).sandbox_only == !gentle);
        CHECK((!gentle || traits(kind).actor != DrillActor::machine));
    }
}

TEST_CASE("drill: faults are dealt to the last ranks and nodes, each to another one, and not to the head's node") {
    CHECK(placed({DrillKind::crash})[0].rank == 5);
    CHECK(placed({DrillKind::crash})[0].node == "n3");
    CHECK(placed({DrillKind::node_loss})[0].node == "n3");
    const auto pair = placed({DrillKind::crash, DrillKind::hang});
    CHECK((pair[0].rank == 5 && pair[1].rank == 4));
    const auto nodes = placed({DrillKind::node_loss, DrillKind::cut_off, DrillKind::crash});
    CHECK((nodes[0].node == "n3" && nodes[1].node == "n2"));
    CHECK(nodes[2].rank == 1); // of what is left
    CHECK(placed({DrillKind::head_loss})[0].node == "n1");
    CHECK(placed({DrillKind::crash, DrillKind::node_loss})[0].node == "n2");
    SUBCASE("where it was asked for") {
        CHECK(placed({DrillKind::crash}, {0, ""})[0].rank == 0);
        CHECK(placed({DrillKind::crash}, {std::nullopt, "n2"})[0].rank == 3);
        CHECK(placed({DrillKind::node_loss}, {2, ""})[0].node == "n2");
        CHECK(placed({DrillKind::crash, DrillKind::hang}, {0, ""})[1].rank == 5);
    }
    SUBCASE("where there is no such place") {
        CHECK(!place_faults({DrillKind::crash}, {6, ""}, three_nodes()));
        CHECK(!place_faults({DrillKind::crash}, {std::nullopt, "n9"}, three_nodes()));
        CHECK(!place_faults({DrillKind::node_loss}, {std::nullopt, "n1"}, three_nodes()));
        const DrillScene alone{1, 1, "n1", {"n1"}, 2};
        CHECK(!place_faults({DrillKind::node_loss}, {}, alone));
        CHECK(placed({DrillKind::cut_off}, {}, alone)[0].node == "n1");
    }
}

TEST_CASE("drill: a wish is read as it was written") {
    const DrillWish wish{"abc", 3, 7, {{DrillKind::cut_off, -1, "n2", 8.5}, {DrillKind::oom, 4, "n3", 0}}};
    const auto read = drill_wish_from(dump_json(to_json(wish)), "drill.json");
    REQUIRE(read);
    CHECK(dump_json(to_json(*read)) == dump_json(to_json(wish)));
    CHECK(!drill_wish_from("{\"id\": 3}", "drill.json"));
}

TEST_CASE("drill story: what was seen and how long training stood still") {
    auto story = crashed();
    CHECK(!story.tell().over);
    story.add(1060, "generation_started", {{"generation", 2}, {"resume_from", "/c/step-40"}});
    story.first_step(2800, 2, 41);
    const auto told = story.tell();
    CHECK(told.over);
    REQUIRE(told.seen.size() == 1);
    CHECK(told.seen[0].what == "rank 3 on n2 was killed by signal 9");
    CHECK(told.seen[0].after_s == doctest::Approx(0.02));
    CHECK(told.last_step == 42);
    REQUIRE(told.goes_on.size() == 1);
    CHECK(told.goes_on[0].resumed_from == "/c/step-40");
    CHECK(told.goes_on[0].first_step == 41);
    CHECK(told.still_s == doctest::Approx(2.0)); // from 0.8 s to 2.8 s
    CHECK(told.ends == std::vector<std::string>{"generation 1 rank_failed: rank 3 on n2 was killed by signal 9"});
    CHECK(told.done == std::vector<std::string>{"SIGKILL for rank 3"});
}

TEST_CASE("drill story: what ends an attempt is over when the next attempt trains") {
    auto story = crashed();
    story.begin.faults.push_back({DrillKind::time_limit, -1, "", 0});
    story.first_step(2800, 2, 41);
    CHECK(!story.tell().over);
    story.last_step(9000, 2, 90, 1.0);
    story.add(9100, "claimed", {{"text", "job 2"}}, 2);
    story.first_step(12000, 1, 81, 2);
    const auto told = story.tell();
    CHECK(told.over);
    CHECK(told.goes_on.size() == 2);
    CHECK(told.still_s == doctest::Approx(2.0 + 4.0));
    CHECK(told.seen.back().what == "attempt 2 took over");
}

TEST_CASE("drill story: a generation that began before the node was missed is not the end of it") {
    auto story = crashed();
    story.begin.faults.push_back({DrillKind::node_loss, -1, "n3", 0});
    story.add(1060, "generation_started", {{"generation", 2}, {"nodes", {"n1", "n2", "n3"}}});
    story.first_step(1500, 2, 41);
    CHECK(!story.tell().over);
    SUBCASE("it is, once another goes on without the node") {
        story.add(6000, "generation_started", {{"generation", 3}, {"nodes", {"n1", "n2", "n4"}}});
        story.first_step(7000, 3, 41);
        CHECK(story.tell().over);
    }
    SUBCASE("or with it, where it was missed and came back") {
        story.add(5000, "node_lost", {{"text", "nothing heard of node n3"}});
        story.add(6000, "generation_started", {{"generation", 3}, {"nodes", {"n1", "n2", "n3"}}});
        story.first_step(7000, 3, 41);
        CHECK(story.tell().over);
    }
}

TEST_CASE("drill story: of a head that died the last step is not known, and the fault counts instead") {
    Story story;
    story.begin.faults = {{DrillKind::head_loss, -1, "n1", 0}};
    story.begin.at_ms = 5000;
    story.add(17000, "claimed", {{"text", "job 2"}}, 2);
    story.first_step(19000, 1, 31, 2);
    const auto told = story.tell();
    CHECK(told.over);
    CHECK(told.goes_on[0].from_fault);
    CHECK(told.still_s == doctest::Approx(14.0));
    CHECK(!told.last_step);
}

TEST_CASE("drill story: before the head has taken the wish nothing is over, and a refusal is told") {
    Story story;
    story.first_step(800, 2, 30);
    CHECK(!story.tell().injected);
    CHECK(!story.tell().over);
    story.add(900, "drill_refused", {{"id", "d1"}, {"text", "it does not train"}});
    CHECK(story.tell().refused == "it does not train");
}
