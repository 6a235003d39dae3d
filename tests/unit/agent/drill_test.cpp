#include "agent/drill.h"
#include "base/files.h"
#include "support/temp_dir.h"

#include "head_rig.h"

#include <filesystem>

using namespace trainctl;

namespace {

struct Drilled {
    std::vector<std::string> events;
    std::map<std::string, std::vector<DrillOrder>> orders;
    int cuts = 0;
    bool can_cut = true;
    HeadDrills drills{{[this](const std::string &event, Json data) { events.push_back(event + " " + data.value("text", "")); },
                       [this](const auto &given) { orders = given; },
                       [this](const auto &then) {
                           ++cuts;
                           then(can_cut ? Result<std::string>{"cut"} : Error{ErrorKind::not_found, "no checkpoint", "", ""});
                       }}};
};

DrillWish wish(std::vector<DrillFault> faults) { return {"d1", 1, 2, std::move(faults)}; }

} // namespace

TEST_CASE("drills: the head hands each fault to its node, numbered over the attempt") {
    Drilled it;
    it.drills.take(wish({{DrillKind::crash, 3, "n2", 0}, {DrillKind::time_limit, -1, "", 0}, {DrillKind::cut_off, -1, "n3", 8}}), 1, 2);
    REQUIRE(it.orders.size() == 2); // a time limit is no affair of an agent
    CHECK(it.orders["n2"].at(0).rank == 3);
    CHECK(it.orders["n3"].at(0).for_ms == 8000);
    const int before = it.orders["n3"].at(0).number;
    it.drills.take(wish({{DrillKind::hang, 0, "n1", 0}}), 1, 2);
    CHECK(it.orders["n1"].at(0).number > before);
}

TEST_CASE("drills: a wish for another attempt or generation, or for ranks that do not train, is refused") {
    for (const auto &[attempt, generation] : {std::pair{2, 2}, std::pair{1, 3}, std::pair{1, 0}}) {
        Drilled it;
        it.drills.take(wish({{DrillKind::crash, 0, "n1", 0}}), attempt, generation);
        CHECK(it.orders.empty());
        REQUIRE(it.events.size() == 1);
        CHECK(it.events[0].starts_with("drill_refused"));
    }
}

TEST_CASE("drills: a checkpoint is cut before a rank crashes, and nothing crashes where there is none") {
    Drilled it;
    it.drills.take(wish({{DrillKind::corrupt_checkpoint, 1, "n1", 0}}), 1, 2);
    CHECK(it.cuts == 1);
    CHECK(it.orders["n1"].at(0).kind == "crash");
    CHECK(it.events.back() == "drill_done cut");
    Drilled none;
    none.can_cut = false;
    none.drills.take(wish({{DrillKind::corrupt_checkpoint, 1, "n1", 0}}), 1, 2);
    CHECK(none.orders.empty());
    CHECK(none.events == std::vector<std::string>{"drill_refused no checkpoint"});
}

TEST_CASE("drills: of a checkpoint the largest file is cut in half") {
    TempDir folder;
    PosixFiles files;
    REQUIRE(files.write(folder.path() + "/small", "1234"));
    REQUIRE(files.make_dirs(folder.path() + "/shards"));
    REQUIRE(files.write(folder.path() + "/shards/large", std::string(1000, 'x')));
    CheckpointSeen seen;
    seen.path = folder.path();
    REQUIRE(cut_checkpoint(seen));
    CHECK(std::filesystem::file_size(folder.path() + "/shards/large") == 500);
    CHECK(std::filesystem::file_size(folder.path() + "/small") == 4);
    CHECK(!cut_checkpoint(std::nullopt));
    seen.path = folder.path() + "/none";
    CHECK(!cut_checkpoint(seen));
}

TEST_CASE("drills: the journal is told of a generation's first step and, at its end, of its last") {
    Rig rig{in_place()};
    const auto notes = [&](const std::string &event) {
        std::vector<Json> found;
        for (const auto &action : rig.actions)
            if (const auto *note = std::get_if<Note>(&action); note != nullptr && note->event == event)
                found.push_back(note->data);
        return found;
    };
    rig.train();
    rig.give(ProgressSeen{{}, 0.5, {}});
    CHECK(notes("first_step").empty());
    rig.give(ProgressSeen{1, {}, {}});
    rig.give(ProgressSeen{7, {}, {}});
    REQUIRE(notes("first_step").size() == 1);
    CHECK(notes("first_step")[0].at("step") == 1);
    rig.pass(2s);
    rig.give(ProgressSeen{7, 0.4, {}}); // no new step
    rig.exit(3, 1);
    rig.all_dead();
    REQUIRE(notes("last_step").size() == 1);
    CHECK(notes("last_step")[0] == Json{{"generation", 1}, {"step", 7}, {"ago_s", 2.0}});
    rig.give(CheckpointChosen{checkpoint(5), ""});
    REQUIRE(rig.machine.generation() == 2);
    rig.give(ProgressSeen{7, {}, {}}); // again: it is a step of this generation
    CHECK(notes("first_step").size() == 2);
}
