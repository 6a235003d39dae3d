#include "desk_room.h"

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

struct SavingRoom : DeskRoom {
    explicit SavingRoom(const std::string &checkpoint = "  save_signal: USR1\n  save_time: 20s\n") : checkpoint_keys(checkpoint) {}

    JobId start() {
        auto submit = submit_request();
        submit["experiment"] = submit["experiment"].get<std::string>() + checkpoint_keys;
        const JobId job{answer(submit).at("job").get<std::uint64_t>()};
        slurm.advance(5s);
        put(1, "claim", Claim{job, 0, "n1", "", 1});
        return job;
    }
    void journal(const std::string &name, Json data, int attempt = 1) {
        REQUIRE(files.make_dirs(paths.file("journal")));
        const Event event{"job1.0", ++sequence, attempt, 0, 0, name, std::move(data)};
        REQUIRE(files.append(paths.journal("job1.0"), dump_json(to_json(event)) + "\n"));
    }
    // A head that takes the wish when it looks, and answers so.
    std::function<void()> head(const std::string &event, Json data) {
        return [this, event, data] {
            if (read(paths.wish("checkpoint-now"))) {
                REQUIRE(files.remove(paths.wish("checkpoint-now")));
                journal(event, data);
            }
        };
    }
    std::string refusal(const std::function<void()> &meanwhile = {}) {
        const auto result = ask(request("checkpoint-now"), meanwhile);
        REQUIRE(!result);
        return result.error().text();
    }

    std::string checkpoint_keys;
    std::uint64_t sequence = 0;
};

const Json saved_107{{"text", "saved step 107 in 2.0 s"}, {"step", 107}, {"path", "/c/step-107"}, {"took_s", 2.0}};

} // namespace

TEST_CASE("desk checkpoint-now: rings the head, and tells what was saved since") {
    SavingRoom room;
    const auto job = room.start();
    room.journal("saved", Json{{"text", "saved step 50 in 1.0 s"}, {"step", 50}}); // of an earlier wish
    const auto answer = room.answer(room.request("checkpoint-now"), room.head("saved", saved_107));
    CHECK(answer.at("saved") == true);
    CHECK(answer.at("step") == 107);
    CHECK(answer.at("path") == "/c/step-107");
    CHECK(answer.at("took_s") == 2.0);
    CHECK(room.slurm.signals == std::vector{std::pair{job, std::string{"USR2"}}});
}

TEST_CASE("desk checkpoint-now: without waiting the wish is left to the head") {
    SavingRoom room;
    room.start();
    auto request = room.request("checkpoint-now");
    request["wait"] = false;
    CHECK(room.answer(request).at("saved").is_null());
    CHECK(room.read(room.paths.wish("checkpoint-now")));
}

TEST_CASE("desk checkpoint-now: why nothing was saved") {
    SUBCASE("the training can't") {
        SavingRoom room{""};
        room.start();
        CHECK(room.refusal().find("no checkpoint.save_signal") != std::string::npos);
        CHECK(!room.read(room.paths.wish("checkpoint-now")));
    }
    SUBCASE("it waits in the queue") {
        SavingRoom room;
        auto submit = room.submit_request();
        submit["experiment"] = submit["experiment"].get<std::string>() + room.checkpoint_keys;
        room.answer(submit);
        CHECK(room.refusal().find("does not train now") != std::string::npos);
    }
    SUBCASE("the run has ended") {
        SavingRoom room;
        room.start();
        room.answer(room.request("cancel"));
        CHECK(room.refusal().find("the run has ended: stopped") != std::string::npos);
        CHECK(!room.read(room.paths.wish("checkpoint-now")));
    }
    SUBCASE("the head refuses") {
        SavingRoom room;
        room.start();
        CHECK(room.refusal(room.head("save_refused", Json{{"text", "no ranks train now"}})).find("no ranks train now") != std::string::npos);
    }
    SUBCASE("the save does not come") {
        SavingRoom room;
        room.start();
        CHECK(room.refusal(room.head("save_missing", Json{{"text", "no newer checkpoint 20 s after"}})).find("no newer checkpoint 20 s") != std::string::npos);
    }
    SUBCASE("the attempt ends first, and the next one is not asked") {
        SavingRoom room;
        room.start();
        Outcome outcome;
        outcome.text = "rank 3 died";
        CHECK(room.refusal([&] { room.put(1, "outcome.json", outcome); }).find("rank 3 died") != std::string::npos);
        CHECK(!room.read(room.paths.wish("checkpoint-now")));
    }
    SUBCASE("the head says nothing, and is waited for, not for ever") {
        SavingRoom room;
        room.start();
        CHECK(room.refusal().find("does not say") != std::string::npos);
    }
}
