#include "desk_room.h"

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

// What was said of each file, put together.
std::map<std::string, std::string> texts(const DeskRoom &room) {
    std::map<std::string, std::string> out;
    for (const auto &message : room.said)
        if (message.contains("log"))
            out[message.at("log").at("file")] += message.at("log").at("text").get<std::string>();
    return out;
}

Json ask_logs(DeskRoom &room, const Json &wishes = Json::object()) {
    auto request = room.request("logs");
    request.update(wishes);
    room.said.clear();
    return room.answer(request);
}

using Texts = std::map<std::string, std::string>;

} // namespace

TEST_CASE("desk logs: whole lines of the newest attempt that trained, then the status") {
    DeskRoom room;
    room.slurm.end(room.train(), "NODE_FAIL");
    room.answer(room.request("status"));
    room.slurm.advance(5s);
    room.put(2, "claim", Claim{JobId{2}, 0, "n1", "", 1});
    room.log("001/logs/g01/n1.log", "old\n");
    room.log("002/logs/g01/n1.log", "one\ntwo\nhal");
    room.log("002/logs/g01/n2.log", "other\n");
    room.log("002/logs/head.log", "of the head\n");
    CHECK(ask_logs(room).at("state") == "running");
    CHECK(texts(room) == Texts{{"002/logs/g01/n1.log", "one\ntwo\n"}, {"002/logs/g01/n2.log", "other\n"}});
    ask_logs(room, {{"attempt", 1}, {"all", true}});
    CHECK(texts(room) == Texts{{"001/logs/g01/n1.log", "old\n"}, {"002/logs/g01/n1.log", "one\ntwo\n"}, {"002/logs/g01/n2.log", "other\n"},
                               {"002/logs/head.log", "of the head\n"}});
    ask_logs(room, {{"quiet", true}});
    CHECK(texts(room).empty());
}

TEST_CASE("desk logs: goes on behind what was seen, from the top of a rotated file, and from a tail") {
    DeskRoom room;
    room.train();
    const std::string file = "001/logs/g01/n1.log";
    room.log(file, "one\ntwo\nthree\n");
    ask_logs(room, {{"offsets", {{file, 8}}}});
    CHECK(texts(room) == Texts{{file, "three\n"}});
    CHECK(room.said.back().at("log").at("offset") == 14);
    ask_logs(room, {{"offsets", {{file, 1000}}}});
    CHECK(texts(room) == Texts{{file, "one\ntwo\nthree\n"}});
    ask_logs(room, {{"tail", 2}});
    CHECK(texts(room) == Texts{{file, "two\nthree\n"}});
    ask_logs(room, {{"tail", 0}});
    CHECK(texts(room).empty());
}

TEST_CASE("desk logs: bytes that are no text, and a line longer than a piece, come through") {
    DeskRoom room;
    room.train();
    const std::string file = "001/logs/g01/n1.log", line(600'000, 'x');
    room.log(file, "\xff\xfe\n" + line + "\n");
    ask_logs(room);
    CHECK(texts(room).at(file) == "\xef\xbf\xbd\xef\xbf\xbd\n" + line + "\n");
}

TEST_CASE("desk logs: follows to the end of the run, and says each change of the status once") {
    DeskRoom room;
    const auto job = room.train();
    const std::string file = "001/logs/g01/n1.log";
    int round = 0;
    auto request = room.request("logs");
    request["follow"] = true;
    const auto status = room.answer(request, [&] {
        ++round;
        if (round <= 100)
            room.log(file, "line " + std::to_string(round) + "\n");
        if (round == 100) {
            Outcome outcome;
            outcome.kind = OutcomeKind::finished;
            outcome.job = job;
            room.put(1, "outcome.json", outcome);
            REQUIRE(write_record_file(room.files, room.paths.file("ended.json"), Ended{EndKind::finished, "every rank ended with 0", AttemptNo{1}, 0}));
            room.slurm.finish(job, 0);
        }
        REQUIRE(round < 1000);
    });
    CHECK(status.at("state") == "finished");
    CHECK(texts(room).at(file).ends_with("line 99\nline 100\n"));
    std::vector<std::string> states;
    int alive = 0;
    for (const auto &message : room.said) {
        if (message.contains("status"))
            states.push_back(message.at("status").at("state"));
        alive += message.contains("alive") ? 1 : 0;
    }
    CHECK(states == std::vector<std::string>{"running", "finished"});
    CHECK(alive >= 3); // 50 s: writing is how a lost link is noticed
}

TEST_CASE("desk logs: whoever follows puts the run right when its job dies") {
    DeskRoom room;
    const auto job = room.train();
    int round = 0;
    auto request = room.request("logs");
    request["follow"] = true;
    request["quiet"] = true;
    const auto status = room.answer(request, [&] {
        ++round;
        if (round == 10)
            room.slurm.end(job, "NODE_FAIL");
        if (live_jobs(room.slurm, "tc-gpt-abcde-002") == 1 && !room.ended())
            REQUIRE(write_record_file(room.files, room.paths.file("ended.json"), Ended{EndKind::stopped, "enough", AttemptNo{2}, 0}));
        REQUIRE(round < 1000);
    });
    CHECK(status.at("state") == "stopped");
    CHECK(room.live() == 0); // what still waited after the end
    CHECK(texts(room).empty());
}

TEST_CASE("desk logs: an attempt that the run does not have is an error") {
    DeskRoom room;
    room.train();
    Json request = room.request("logs");
    request["attempt"] = 99;
    const auto answer = room.ask(request);
    REQUIRE(!answer);
    CHECK(answer.error().kind == ErrorKind::not_found);
    CHECK(answer.error().message.find("99") != std::string::npos);
}

TEST_CASE("desk logs and status: a setup that failed is shown, where no rank has printed") {
    DeskRoom room;
    room.train();
    room.log("001/logs/setup/n1.log", "loading\nno module named cuda\n");
    Outcome outcome;
    outcome.kind = OutcomeKind::setup_failed;
    outcome.text = "setup failed on n1: it exited with code 1";
    room.put(1, "outcome.json", outcome);
    Json request = room.request("logs");
    room.answer(request);
    REQUIRE(!room.said.empty());
    CHECK(room.said[0].at("log").at("text") == "loading\nno module named cuda\n");
    Json look = room.request("status");
    look["act"] = false;
    const auto status = room.answer(look);
    CHECK(status.at("attempts").at(0).at("setup").at("node") == "n1");
    CHECK(status.at("attempts").at(0).at("setup").at("last_lines") == Json{"loading", "no module named cuda"});
    room.said.clear();
    room.log("001/logs/g01/n1.log", "step 1\n");
    room.answer(request);
    REQUIRE(room.said.size() == 1);
    CHECK(room.said[0].at("log").at("text") == "step 1\n");
}
