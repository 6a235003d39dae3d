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

TEST_CASE("desk logs: goes on behind what was seen, from the top of a file that is another, and from a tail") {
    DeskRoom room;
    room.train();
    const std::string file = "001/logs/g01/n1.log";
    room.log(file, "one\ntwo\nthree\n");
    ask_logs(room);
    const auto inode = room.said.back().at("log").at("inode");
    ask_logs(room, {{"places", {{file, {{"inode", inode}, {"offset", 8}}}}}});
    CHECK(texts(room) == Texts{{file, "three\n"}});
    CHECK(room.said.back().at("log").at("offset") == 14);
    ask_logs(room, {{"places", {{file, {{"inode", inode}, {"offset", 1000}}}}}}); // cut off since
    CHECK(texts(room) == Texts{{file, "one\ntwo\nthree\n"}});
    ask_logs(room, {{"tail", 2}});
    CHECK(texts(room) == Texts{{file, "two\nthree\n"}});
    ask_logs(room, {{"tail", 0}});
    CHECK(texts(room).empty());
}

TEST_CASE("desk logs: a file that is rotated is read to its end, and its older parts are shown first") {
    DeskRoom room;
    room.train();
    const std::string file = "001/logs/g01/n1.log", path = room.paths.attempts() + "/" + file;
    const auto rotate = [&] {
        if (room.read(path + ".1"))
            REQUIRE(room.files.rename(path + ".1", path + ".2"));
        REQUIRE(room.files.rename(path, path + ".1"));
        room.log(file, "");
    };
    room.log(file, "one\n");
    ask_logs(room);
    const Json place{{"inode", room.said.back().at("log").at("inode")}, {"offset", 4}};
    room.log(file, "two\n");
    rotate();
    room.log(file, "three\n");
    rotate();
    room.log(file, "four\n");
    ask_logs(room, {{"places", {{file, place}}}});
    CHECK(texts(room) == Texts{{file, "two\nthree\nfour\n"}});
    ask_logs(room);
    CHECK(texts(room) == Texts{{file, "one\ntwo\nthree\nfour\n"}});
    for (const auto &[lines, text] : std::map<int, std::string>{{1, "four\n"}, {2, "three\nfour\n"}, {3, "two\nthree\nfour\n"}, {9, "one\ntwo\nthree\nfour\n"}}) {
        CAPTURE(lines);
        ask_logs(room, {{"tail", lines}});
        CHECK(texts(room) == Texts{{file, text}});
    }
    REQUIRE(room.files.remove(path + ".2")); // what was followed is gone: all that is left is new
    ask_logs(room, {{"places", {{file, place}}}});
    CHECK(texts(room) == Texts{{file, "three\nfour\n"}});
}

TEST_CASE("desk logs: who lost the link in attempt 1 misses nothing, although attempt 2 trains by then") {
    DeskRoom room;
    const auto job = room.train();
    room.log("001/logs/g01/n1.log", "one\ntwo\n");
    room.log("001/logs/g01/n2.log", "quiet\n");
    ask_logs(room, {{"tail", 1}});
    CHECK(texts(room) == Texts{{"001/logs/g01/n1.log", "two\n"}, {"001/logs/g01/n2.log", "quiet\n"}});
    ask_logs(room, {{"tail", 0}});
    const auto following = room.said.front().at("following");
    room.log("001/logs/g01/n1.log", "three\n");
    room.slurm.end(job, "NODE_FAIL");
    room.answer(room.request("status"));
    room.slurm.advance(5s);
    room.put(2, "claim", Claim{JobId{2}, 0, "n1", "", 1});
    room.log("002/logs/g01/n1.log", "four\nfive\n");
    ask_logs(room, {{"attempt", following.at("attempt")}, {"places", following.at("places")}, {"tail", -1}});
    CHECK(texts(room) == Texts{{"001/logs/g01/n1.log", "three\n"}, {"002/logs/g01/n1.log", "four\nfive\n"}});
}

TEST_CASE("desk logs and status: a file that can't be read is told, once, and hides nothing else") {
    DeskRoom room;
    room.train();
    room.log("001/logs/g01/n1.log", "one\n");
    std::filesystem::create_symlink("n2.log", room.paths.attempts() + "/001/logs/g01/n2.log"); // a link to itself: ELOOP for root as well
    std::filesystem::create_symlink("x.jsonl", room.paths.file("journal/x.jsonl"));
    ask_logs(room);
    CHECK(texts(room) == Texts{{"001/logs/g01/n1.log", "one\n"}});
    int problems = 0;
    for (const auto &message : room.said)
        problems += message.contains("problem") && message.at("problem").get<std::string>().find("n2.log") != std::string::npos ? 1 : 0;
    CHECK(problems == 1);
    const auto told = room.answer(room.request("status")).at("journal_problems");
    REQUIRE(told.size() == 1);
    CHECK(told.at(0).get<std::string>().find("x.jsonl") != std::string::npos);
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

TEST_CASE("desk logs: who follows waits out a file system that is away, says so once, and gives up in the end") {
    class Away final : public FaultyFiles {
    public:
        using FaultyFiles::FaultyFiles;
        bool away = false;
        Result<std::optional<std::string>> read(const std::string &path) override {
            return away ? Error{ErrorKind::io, "Stale file handle", path, ""} : FaultyFiles::read(path);
        }
    };
    for (const bool comes_back : {true, false}) {
        CAPTURE(comes_back);
        DeskRoom room;
        const auto job = room.train();
        Actor desk{room.slurm, "desk"};
        Away files{desk.plan};
        auto request = room.request("logs");
        request["follow"] = true;
        int round = 0;
        const auto status = room.ask(desk, files, request, [&] {
            ++round;
            files.away = round >= 5 && (round < 100 || !comes_back);
            if (round == 100 && comes_back) {
                REQUIRE(write_record_file(room.files, room.paths.file("ended.json"), Ended{EndKind::finished, "every rank ended with 0", AttemptNo{1}, 0}));
                room.slurm.finish(job, 0);
            }
            REQUIRE(round < 10000);
        });
        CHECK(status.ok() == comes_back);
        int problems = 0;
        for (const auto &message : room.said)
            problems += message.contains("problem") ? 1 : 0;
        CHECK(problems == 1);
    }
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
    CHECK(texts(room) == Texts{{"001/logs/setup/n1.log", "loading\nno module named cuda\n"}});
    Json look = room.request("status");
    look["act"] = false;
    const auto status = room.answer(look);
    CHECK(status.at("attempts").at(0).at("setup").at("node") == "n1");
    CHECK(status.at("attempts").at(0).at("setup").at("last_lines") == Json{"loading", "no module named cuda"});
    room.said.clear();
    room.log("001/logs/g01/n1.log", "step 1\n");
    room.answer(request);
    CHECK(texts(room) == Texts{{"001/logs/g01/n1.log", "step 1\n"}});
}

TEST_CASE("desk logs: lines that an agent could not write are told, of the attempts that are shown") {
    DeskRoom room;
    room.train();
    ProgressFile progress;
    progress.dropped_lines = 7;
    room.put(1, "progress.json", progress);
    CHECK(room.answer(room.request("status")).at("attempts").at(0).at("progress").at("dropped_lines") == 7);
    const auto losses = [&room] {
        room.said.clear();
        room.answer(room.request("logs"));
        std::erase_if(room.said, [](const Json &message) { return !message.contains("dropped"); });
        return room.said;
    };
    CHECK(losses() == std::vector<Json>{{{"dropped", {{"attempt", 1}, {"lines", 7}}}}});
    progress.dropped_lines = 0;
    room.put(1, "progress.json", progress);
    CHECK(losses().empty());
}
