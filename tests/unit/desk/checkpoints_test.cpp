#include "desk_room.h"

#include <fstream>

using namespace trainctl;

namespace {

void put(const std::string &path, const std::string &content) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << content;
}

void put_step(const DeskRoom &room, int step, bool complete) {
    const auto folder = room.checkpoints + "/step-" + std::to_string(step);
    put(folder + "/state", "12345");
    if (complete)
        put(folder + "/MANIFEST", "5 state\n");
}

} // namespace

TEST_CASE("desk checkpoints: the newest first, each with its verdict, and the one that a restart goes on from") {
    DeskRoom room;
    room.answer(room.submit_request());
    CHECK(room.answer(room.request("checkpoints")).at("checkpoints").empty());
    put_step(room, 9, true);
    put_step(room, 10, true);
    put_step(room, 100, false);
    const auto answer = room.answer(room.request("checkpoints"));
    const auto &all = answer.at("checkpoints");
    REQUIRE(all.size() == 3);
    CHECK(all[0].at("step") == 100);
    CHECK(all[0].at("complete") == false);
    CHECK(all[0].at("why_not").get<std::string>().find("checkpoint.marker") != std::string::npos);
    CHECK(all[1].at("step") == 10);
    CHECK(all[1].at("complete") == true);
    CHECK(all[1].at("format") == "plain");
    CHECK(all[1].at("bytes") == 13);
    CHECK(all[1].at("age_s").get<std::int64_t>() >= 0);
    CHECK(all[2].at("step") == 9);
    CHECK(answer.at("newest_complete") == room.checkpoints + "/step-10");
    CHECK(answer.at("older_not_shown") == false);
}

TEST_CASE("desk checkpoints: of those removed or put aside only the latter are named, and neither is a checkpoint") {
    DeskRoom room;
    room.answer(room.submit_request());
    put_step(room, 9, true);
    put_step(room, 10, true);
    put_step(room, 11, true);
    const auto name = [&](const std::string &one) { return room.checkpoints + "/" + one; };
    std::filesystem::rename(name("step-11"), name("step-11.rolled-back"));
    std::filesystem::rename(name("step-9"), name(".trainctl-removing-step-9"));
    const auto answer = room.answer(room.request("checkpoints"));
    REQUIRE(answer.at("checkpoints").size() == 1);
    CHECK(answer.at("newest_complete") == name("step-10"));
    CHECK(answer.at("put_aside") == Json::array({"step-11.rolled-back"}));
}

TEST_CASE("desk checkpoints: only so many are looked at, and that there are more is said") {
    DeskRoom room;
    room.answer(room.submit_request());
    for (const int step : {1, 2, 3})
        put_step(room, step, true);
    auto request = room.request("checkpoints");
    request["most"] = 2;
    const auto answer = room.answer(request);
    REQUIRE(answer.at("checkpoints").size() == 2);
    CHECK(answer.at("checkpoints")[1].at("step") == 2);
    CHECK(answer.at("older_not_shown") == true);
}
