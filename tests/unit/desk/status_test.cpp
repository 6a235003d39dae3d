#include "desk_room.h"

#include "desk/file_age.h"

using namespace trainctl;
using namespace std::chrono_literals;

TEST_CASE("desk: a verb or a run that is not there is an error that says so") {
    DeskRoom room;
    CHECK(room.ask({{"verb", "dance"}}).error().kind == ErrorKind::invalid);
    for (const char *verb : {"status", "logs", "stop", "cancel", "resume"}) {
        CAPTURE(verb);
        CHECK(room.ask(room.request(verb)).error().kind == ErrorKind::not_found);
        CHECK(room.ask({{"verb", verb}, {"run", "../../etc"}}).error().kind == ErrorKind::not_found);
        CHECK(room.ask({{"verb", verb}}).error().kind == ErrorKind::not_found);
    }
}

TEST_CASE("desk status: what is known of the run, its attempts and their jobs") {
    DeskRoom room;
    const auto job = room.train();
    ProgressFile progress;
    progress.beat = 4;
    progress.step = 40;
    progress.written = unix_seconds(room.slurm.now()) - 3;
    room.put(1, "progress.json", progress);
    auto request = room.request("status");
    request["experiment"] = true;
    const auto status = room.answer(request);
    CHECK(status.at("state") == "running");
    CHECK(status.at("cluster") == "fake");
    CHECK(status.at("experiment").get<std::string>().find("train.py") != std::string::npos);
    CHECK(status.at("problems").empty());
    const auto &attempt = status.at("attempts").at(0);
    CHECK(attempt.at("owner").at("job") == job.value);
    CHECK(attempt.at("progress").at("step") == 40);
    CHECK(attempt.at("progress").at("age_s") == 3);
    CHECK(attempt.at("jobs").at(0).at("state") == "RUNNING");
    CHECK(attempt.at("jobs").at(0).at("seen") == unix_seconds(room.slurm.now()));
    CHECK(attempt.at("jobs").at(0).at("evidence") != "");
    CHECK(!attempt.contains("unknown_since"));
    CHECK(dump_json(status).find(secret_value) == std::string::npos);
}

TEST_CASE("desk status: the beginning of an id is enough where it is the only one") {
    DeskRoom room;
    room.train();
    CHECK(room.answer({{"verb", "status"}, {"run", "gpt"}}).at("run") == "gpt-abcde");
    auto other = room.submit_request("gpt-fghij");
    other["experiment"] = "name: gpt\nresources: {nodes: 1}\nlaunch: {command: [python3]}\n";
    room.answer(other);
    CHECK(room.ask({{"verb", "status"}, {"run", "gpt"}}).error().message.find("2 runs begin with") != std::string::npos);
    CHECK(room.answer({{"verb", "status"}, {"run", "gpt-f"}}).at("run") == "gpt-fghij");
}

TEST_CASE("desk status: puts the run right, unless it is asked only to look") {
    DeskRoom room;
    const auto job = room.train();
    room.slurm.end(job, "NODE_FAIL");
    auto look = room.request("status");
    look["act"] = false;
    CHECK(room.answer(look).at("state") == "starting");
    CHECK(room.live() == 0);
    CHECK(room.answer(room.request("status")).at("state") == "pending");
    CHECK(live_jobs(room.slurm, "tc-gpt-abcde-002") == 1);
}

TEST_CASE("desk status: whichever effect of putting right fails and however, the next leaves one live job") {
    for_each_fault([](const FaultPlan &plan) {
        DeskRoom room;
        room.slurm.end(room.train(), "NODE_FAIL");
        Actor first{room.slurm, "first"};
        first.plan = plan;
        survives([&] { (void)room.ask(first, room.request("status")).ok(); });
        CHECK(room.answer(room.request("status")).at("state") == "pending");
        CHECK(room.live() == 1);
        return first.plan;
    });
}

TEST_CASE("desk status: a silent Slurm means that nothing is known") {
    DeskRoom room;
    room.train();
    room.slurm.controller_down = true;
    const auto status = room.answer(room.request("status"));
    CHECK(status.at("state") == "unknown");
    CHECK(status.at("attempts").at(0).at("unknown_since").get<std::int64_t>() > 0); // when something was known last
    CHECK(room.slurm.counters.submits == 1);
}

TEST_CASE("desk status and list: a job in a state that nobody knows is unknown, and since when") {
    DeskRoom room;
    const auto job = room.train();
    for (const char *evidence : {"squeue", "sacct"}) {
        CAPTURE(evidence);
        room.slurm.tells = [&](JobSighting &seen) {
            seen.phase = JobPhase::unknown;
            seen.state = "BRAND_NEW";
            seen.evidence = evidence;
        };
        auto look = room.request("status");
        look["act"] = false;
        const auto status = room.answer(look);
        CHECK(status.at("state") == "unknown");
        CHECK(status.at("text").get<std::string>().find("BRAND_NEW") != std::string::npos);
        CHECK(status.at("unknown_since").get<std::int64_t>() > 0);
        CHECK(status.at("attempts").at(0).at("unknown_since") == status.at("unknown_since"));
        const auto listed = room.answer({{"verb", "list"}}).at("runs").at(0);
        CHECK(listed.at("state") == "unknown");
        CHECK(listed.at("unknown_since") == status.at("unknown_since"));
    }
    room.slurm.tells = {};
    const auto listed = room.answer({{"verb", "list"}}).at("runs").at(0);
    CHECK(listed.at("state") == "running");
    CHECK(!listed.contains("unknown_since"));
    CHECK(room.slurm.job(job).phase == JobPhase::running);
}

TEST_CASE("desk status and list: how old a beat is comes from its file system, not from two machines' clocks") {
    DeskRoom room;
    room.train();
    ProgressFile progress;
    progress.written = unix_seconds(room.slurm.now()) - 3600; // the head's clock is an hour behind
    room.put(1, "progress.json", progress);
    room.age = [&](const std::string &path) -> std::optional<Duration> {
        CHECK(path == room.paths.attempt_file(AttemptNo{1}, "progress.json"));
        return 4s;
    };
    CHECK(room.answer(room.request("status")).at("attempts").at(0).at("progress").at("age_s") == 4);
    CHECK(room.answer({{"verb", "list"}}).at("runs").at(0).at("age_s") == 4);
}

TEST_CASE("file age: by the clock of the file system, which leaves nothing behind") {
    TempDir folder;
    PosixFiles files;
    const auto path = folder / "progress.json";
    CHECK(!file_age(path));
    REQUIRE(files.write(path, "{}"));
    const auto set_back = [&](int seconds) {
        const auto time = std::filesystem::last_write_time(path) - std::chrono::seconds{seconds};
        std::filesystem::last_write_time(path, time);
    };
    set_back(100);
    REQUIRE(file_age(path));
    CHECK(*file_age(path) >= 100s);
    set_back(-10'000); // written later than now
    CHECK(*file_age(path) == Duration::zero());
    CHECK(files.list(folder.path()).value() == std::vector<std::string>{"progress.json"});
}

TEST_CASE("desk status: a broken file of an old attempt is told, and the run goes on") {
    for (const char *name : {"claim", "intent.json", "job.json", "progress.json", "outcome.json", "verdict.json"}) {
        CAPTURE(name);
        DeskRoom room;
        room.slurm.end(room.train(), "NODE_FAIL");
        room.answer(room.request("status")); // attempt 2
        room.slurm.advance(5s);
        room.put(2, "claim", Claim{JobId{2}, 0, "n1", "", 1});
        const auto path = room.paths.attempt_file(AttemptNo{1}, name);
        REQUIRE(room.files.write(path, "{\"torn"));
        for (const char *verb : {"status", "resume", "logs"}) {
            const auto status = room.answer(room.request(verb));
            CHECK(status.at("state") == "running");
            REQUIRE(status.at("problems").size() == 1);
            CHECK(status.at("problems").at(0) == path + ": this is not JSON");
        }
        CHECK(room.slurm.counters.submits == 2);
        CHECK(room.answer(room.request("list")).at("runs").at(0).at("state") == "running");
        CHECK(room.answer(room.request("cancel")).at("state") == "stopped");
    }
}

TEST_CASE("desk status: an owner whose claim can't be read is nobody's, and not declared dead while it beats") {
    auto settings = DeskRoom::own_settings();
    settings.accounting = false;
    settings.min_job_age = 10s;
    for (const bool beats : {true, false}) {
        CAPTURE(beats);
        DeskRoom room{settings};
        const auto job = room.train();
        REQUIRE(room.files.write(room.paths.attempt_file(AttemptNo{1}, "claim"), "{\"torn"));
        room.slurm.end(job, "NODE_FAIL");
        room.slurm.advance(60s); // Slurm has forgotten the job
        ProgressFile progress;
        const auto status = room.answer(room.request("status"), [&] {
            if (beats) {
                ++progress.beat;
                room.put(1, "progress.json", progress);
            }
        });
        CHECK(status.at("attempts").at(0).at("owner").at("job").is_null());
        CHECK(status.at("state") == (beats ? "running" : "pending"));
        CHECK(room.live() == (beats ? 0 : 1));
    }
}

TEST_CASE("desk list: all runs, one question to Slurm, and a broken one does not hide the others") {
    DeskRoom room;
    room.train();
    const auto plain = "name: gpt\nresources: {nodes: 1}\nlaunch: {command: [python3]}\n";
    for (const char *run : {"waits-abcde", "done-abcde", "broken-abcde"}) {
        auto request = room.submit_request(run);
        request["experiment"] = plain;
        room.answer(request);
    }
    room.answer({{"verb", "cancel"}, {"run", "done-abcde"}});
    REQUIRE(room.files.write(RunPaths{room.root, RunId{"broken-abcde"}}.file("run.json"), "{"));
    REQUIRE(room.files.make_dirs(room.root + "/runs/half-made"));
    const auto finds = room.slurm.counters.finds;
    const auto states = [&] {
        std::map<std::string, std::string> out;
        const auto answer = room.answer({{"verb", "list"}});
        for (const auto &run : answer.at("runs"))
            out[run.at("run")] = run.at("state");
        return out;
    };
    CHECK(states() == std::map<std::string, std::string>{{"gpt-abcde", "running"}, {"waits-abcde", "pending"}, {"done-abcde", "stopped"},
                                                         {"broken-abcde", "unknown"}, {"half-made", "unknown"}});
    CHECK(room.slurm.counters.finds == finds + 1);
    room.slurm.controller_down = true;
    CHECK(states().at("gpt-abcde") == "unknown");
    CHECK(states().at("done-abcde") == "stopped");
}
