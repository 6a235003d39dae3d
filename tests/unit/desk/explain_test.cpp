// What the desk answers to `explain` and `nodes`, from the files that heads and judges left.
#include "desk_room.h"

#include "recovery/node_memory.h"
#include "run/journal.h"

using namespace trainctl;

namespace {

Failure stopped_failure() {
    Failure failure;
    failure.failure_class = "py-error";
    failure.what = "Python raised an error";
    failure.hint = "Mend it.";
    failure.confidence = 0.9;
    failure.ruling = RulingKind::stop;
    failure.reason = "the same error twice";
    failure.attempt = 1;
    failure.generation = 2;
    return failure;
}

} // namespace

TEST_CASE("desk explain: generations and failures of each attempt come from its head's journal") {
    DeskRoom room;
    room.answer(room.submit_request());
    Actor head{room.slurm, "head"};
    JournalWriter journal{room.files, head.clock, room.paths, "head-1", AttemptNo{1}};
    journal.generation(1);
    REQUIRE(journal.add(AttemptNo{1}, "generation_started", {{"generation", 1}, {"nodes", {"n1", "n2"}}, {"resume_from", ""}}));
    REQUIRE(journal.add(AttemptNo{1}, "generation_ended", {{"generation", 1}, {"trained_s", 14.5}, {"text", "rank 0 on n1 exited with code 1"}}));
    REQUIRE(journal.add(AttemptNo{1}, "generation_started", {{"generation", 2}, {"nodes", {"n1", "n2"}}, {"resume_from", "/c/step-4"}}));
    REQUIRE(journal.add(AttemptNo{1}, "generation_ended", {{"generation", 2}, {"trained_s", 7200.0}, {"text", "rank 0 on n1 exited with code 1"}}));
    REQUIRE(journal.add(AttemptNo{1}, "failure", to_json(stopped_failure())));
    const auto answer = room.answer(room.request("explain"));
    const auto &attempt = answer.at("attempts").at(0);
    REQUIRE(attempt.at("generations").size() == 2);
    CHECK(!attempt.at("generations")[0].contains("failure"));
    CHECK(attempt.at("generations")[1].at("resume_from") == "/c/step-4");
    CHECK(attempt.at("generations")[1].at("failure").at("class") == "py-error");
    // Two nodes, three failures allowed: two more tries of two hours each were spared.
    CHECK(answer.at("not_wasted").at("unit") == "node");
    CHECK(answer.at("not_wasted").at("units") == 2);
    CHECK(answer.at("not_wasted").at("hours").get<double>() == doctest::Approx(answer.at("not_wasted").at("tries").get<int>() * 4.0));
}

TEST_CASE("desk explain: a run that was not stopped by a ruling saved nothing") {
    DeskRoom room;
    room.answer(room.submit_request());
    CHECK(room.answer(room.request("explain")).at("not_wasted").is_null());
}

TEST_CASE("desk nodes: what runs noted of nodes is told, and forgotten when asked") {
    DeskRoom room;
    room.answer(room.submit_request());
    Actor desk{room.slurm, "desk"};
    const auto now = unix_seconds(desk.clock.wall());
    REQUIRE(remember_node(room.files, room.root, {"n2", "gpt-abcde", 1, 1, false, now + 3600, "killed", "its rank died first", now}, now));
    REQUIRE(remember_node(room.files, room.root, {"n7", "gpt-abcde", 1, 2, true, now + 3600, "gpu-ecc", "GPU 3", now}, now));
    auto answer = room.answer({{"verb", "nodes"}});
    REQUIRE(answer.at("notes").size() == 2);
    for (const auto &note : answer.at("notes"))
        CHECK(note.at("avoided") == (note.at("node") == "n7"));
    CHECK(room.answer({{"verb", "nodes"}, {"clear", true}, {"nodes", {"n7"}}}).at("forgotten") == 1);
    answer = room.answer({{"verb", "nodes"}});
    REQUIRE(answer.at("notes").size() == 1);
    CHECK(answer.at("notes")[0].at("node") == "n2");
    CHECK(room.answer({{"verb", "nodes"}, {"clear", true}}).at("forgotten") == 1);
}
