#include "desk_room.h"

#include "base/text.h"

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

// A head that sees the wish at its next poll, saves and ends; what it writes is its own tests' business.
std::function<void()> head_that_stops(DeskRoom &room, JobId job) {
    return [&room, job] {
        if (room.read(room.paths.wish("stop")) && room.slurm.job(job).phase == JobPhase::running)
            room.slurm.finish(job, 1);
    };
}

} // namespace

TEST_CASE("desk stop: lets the head save, and ends the run when it has gone") {
    DeskRoom room;
    const auto job = room.train();
    const auto status = room.answer(room.request("stop"), head_that_stops(room, job));
    CHECK(status.at("state") == "stopped");
    CHECK(status.at("stop_wished") == true);
    CHECK(room.ended()->why == "stopped by the user");
    CHECK(parse_json(*room.read(room.paths.wish("stop")), "")->at("save") == true);
    CHECK(room.slurm.signals == std::vector{std::pair{job, std::string{"USR2"}}});
    CHECK(room.slurm.counters.cancels == 0);
    CHECK(!room.said.empty());
}

TEST_CASE("desk cancel: ends the job itself, and the run is ended once") {
    DeskRoom room;
    const auto job = room.train();
    CHECK(room.answer(room.request("cancel")).at("state") == "stopped");
    CHECK(room.ended()->why == "cancelled by the user");
    CHECK(room.slurm.job(job).state == "CANCELLED");
    CHECK(room.slurm.signals.empty());
    CHECK(room.answer(room.request("stop")).at("state") == "stopped");
    CHECK(room.ended()->why == "cancelled by the user"); // the first one decides
}

TEST_CASE("desk cancel: on a full disk the run's reserve makes room for the wish") {
    class FullDisk final : public FaultyFiles {
    public:
        FullDisk(FaultPlan &plan, RunPaths paths) : FaultyFiles(plan), paths_(std::move(paths)) {}
        Result<void> write(const std::string &path, std::string_view text) override {
            const auto reserve = read(paths_.reserve());
            return path == paths_.wish("stop") && reserve && *reserve ? Error{ErrorKind::no_space, "No space left on device", path, ""} : FaultyFiles::write(path, text);
        }

    private:
        RunPaths paths_;
    };
    DeskRoom room;
    const auto job = room.train();
    REQUIRE(room.files.write(room.paths.reserve(), "room for the last words"));
    Actor desk{room.slurm, "desk"};
    FullDisk disk{desk.plan, room.paths};
    const auto status = room.ask(desk, disk, room.request("cancel"));
    REQUIRE(status);
    CHECK(status->at("state") == "stopped");
    CHECK(room.slurm.job(job).state == "CANCELLED");
}

TEST_CASE("desk stop: whichever effect fails and however, again ends the run and leaves no job") {
    for (const char *verb : {"stop", "cancel"}) {
        for (const bool standby : {false, true}) {
            CAPTURE(verb);
            CAPTURE(standby);
            for_each_fault([&](const FaultPlan &plan) {
                DeskRoom room;
                const auto job = room.train();
                if (standby) { // starts when the first job ends, unless it is cancelled before
                    Actor head{room.slurm, "head"};
                    REQUIRE(make_attempt(head.world, room.paths, {AttemptNo{2}, job, {}, plain_prepare(room.paths)}, {}));
                }
                int starts_after_wish = 0;
                room.slurm.on_start = [&](const FakeSlurm::Job &) { ++starts_after_wish; };
                Actor first{room.slurm, "first"};
                first.plan = plan;
                survives([&] { (void)room.ask(first, room.request(verb), head_that_stops(room, job)).ok(); });
                CHECK(room.answer(room.request(verb), head_that_stops(room, job)).at("state") == "stopped");
                REQUIRE(room.ended());
                CHECK(room.ended()->kind == EndKind::stopped);
                CHECK(room.live() == 0);
                room.slurm.advance(60s);
                CHECK(room.answer(room.request("status")).at("state") == "stopped");
                CHECK(starts_after_wish == 0);
                return first.plan;
            });
        }
    }
}

TEST_CASE("desk journal: what the desk did to a run is in a journal of its own, a file for each process") {
    DeskRoom room;
    const auto job = room.train();
    room.answer(room.request("status")); // did nothing
    CHECK(room.facts().empty());
    room.slurm.end(job, "NODE_FAIL");
    room.answer(room.request("status"));
    room.slurm.advance(5s);
    room.answer(room.request("cancel"));
    room.slurm.advance(5s);
    room.answer(room.request("resume"));
    CHECK(join(room.facts(), ", ") == "verdict 1, cancel_wished 2, jobs_cancelled 2, run_ended 2, resumed 2, verdict 2");
    CHECK(room.files.list(room.paths.file("journal")).value().size() >= 3);
    CHECK(room.open_to_others().empty());
}

TEST_CASE("desk stop: a head that does not go is waited for, not for ever, and the wish stays") {
    DeskRoom room;
    room.train();
    const auto begun = room.slurm.now();
    CHECK(room.answer(room.request("stop")).at("state") == "running");
    CHECK(room.slurm.now() - begun < 10min);
    CHECK(!room.ended());
    CHECK(room.read(room.paths.wish("stop")));
    CHECK(room.slurm.signals.size() == 1); // rung once, not at each look
    CHECK(room.ask(room.request("resume")).error().kind == ErrorKind::refused);
}

TEST_CASE("desk cancel: a job in a state that nobody knows is ended as well; one that squeue forgot holds up nothing") {
    for (const char *evidence : {"squeue", "sacct"}) {
        CAPTURE(evidence);
        DeskRoom room;
        const auto job = room.train();
        room.slurm.tells = [&](JobSighting &seen) {
            if (seen.phase != JobPhase::running)
                return;
            seen.phase = JobPhase::unknown;
            seen.state = "BRAND_NEW_FLAG";
            seen.evidence = evidence;
        };
        CHECK(room.answer(room.request("cancel")).at("state") == "stopped");
        CHECK(room.ended()->kind == EndKind::stopped);
        CHECK(room.slurm.job(job).state == (evidence == std::string{"squeue"} ? "CANCELLED" : "RUNNING"));
    }
}

TEST_CASE("desk stop: while Slurm is silent nothing is said to have ended") {
    DeskRoom room;
    room.train();
    room.slurm.controller_down = true;
    CHECK(room.ask(room.request("cancel")).error().kind == ErrorKind::unreachable);
    CHECK(!room.ended());
    CHECK(room.read(room.paths.wish("stop")));
    room.slurm.controller_down = false;
    CHECK(room.answer(room.request("cancel")).at("state") == "stopped");
}

TEST_CASE("desk resume: whichever effect fails and however, again goes on with one job and the changed experiment") {
    for (const bool changed : {false, true}) {
        CAPTURE(changed);
        for_each_fault([&](const FaultPlan &plan) {
            DeskRoom room;
            room.train();
            room.answer(room.request("cancel"));
            auto request = room.request("resume");
            auto yaml = room.submit_request().at("experiment").get<std::string>();
            if (changed)
                request["experiment"] = yaml += "recovery:\n  lease: 40s\n";
            Actor first{room.slurm, "first"};
            first.plan = plan;
            survives([&] { (void)room.ask(first, request).ok(); });
            CHECK(room.answer(request).at("state") == "pending");
            CHECK(room.live() == 1);
            CHECK(live_jobs(room.slurm, "tc-gpt-abcde-002") == 1);
            CHECK(!room.ended());
            CHECK(!room.read(room.paths.wish("stop")));
            CHECK(room.read(room.paths.file(retired_end(AttemptNo{1}))));
            CHECK(room.read(room.paths.file("experiment.yaml")) == yaml);
            return first.plan;
        });
    }
}

TEST_CASE("desk resume: an attempt that was refused before is made again, and is not forgiven") {
    DeskRoom room;
    room.train();
    const auto folder = room.paths.attempt(AttemptNo{2});
    REQUIRE(room.files.make_dirs(folder));
    REQUIRE(write_record_file(room.files, join_path(folder, "intent.json"), Intent{"the head of 1", 0, "t", JobId{1}, {}, {}}));
    REQUIRE(room.files.write(join_path(folder, "rejected.t"), "Job dependencies are not allowed on this cluster"));
    room.answer(room.request("cancel"));
    CHECK(room.answer(room.request("resume")).at("state") == "pending");
    CHECK(live_jobs(room.slurm, "tc-gpt-abcde-002") == 1);
    auto run = look_at_run(room.files, room.paths).value();
    CHECK(run.forgiven == AttemptNo{1});
    // Else a run that finished as this attempt would go on for ever.
    run.attempts.back().outcome.emplace().kind = OutcomeKind::finished;
    CHECK(std::holds_alternative<EndRun>(decide_next(Recovery{}, run)));
}

TEST_CASE("desk resume: of two at once the slower one goes on with what the other began") {
    DeskRoom room;
    room.train();
    room.answer(room.request("cancel"));
    struct SlowFiles final : FaultyFiles { // the other resume comes between reading the end and taking it back
        SlowFiles(DeskRoom &all, FaultPlan &plan) : FaultyFiles(plan), room(all) {}
        DeskRoom &room;
        bool met = false;
        Result<void> remove(const std::string &path) override {
            if (!std::exchange(met, true))
                CHECK(room.answer(room.request("resume")).at("resumed") == true);
            return FaultyFiles::remove(path);
        }
    };
    Actor slow{room.slurm, "slow"};
    SlowFiles files{room, slow.plan};
    CHECK(room.answer(slow, files, room.request("resume")).at("state") == "pending");
    CHECK(room.live() == 1);
}

TEST_CASE("desk resume: secrets are gone at the end of a run and are brought anew, or nothing is changed") {
    DeskRoom room;
    room.train();
    CHECK(room.files_with_secret() == std::vector{room.paths.file("secrets.json")});
    room.answer(room.request("cancel"));
    CHECK(room.files_with_secret().empty());
    auto request = room.request("resume");
    request.erase("secrets");
    CHECK(room.answer(request).at("need_secrets") == Json::array({"API_KEY"}));
    CHECK(room.ended());
    CHECK(room.live() == 0);
    CHECK(room.answer(room.request("resume")).at("state") == "pending");
    CHECK(room.files_with_secret() == std::vector{room.paths.file("secrets.json")});
    CHECK(room.open_to_others().empty());
    // What the changed experiment names counts.
    room.answer(room.request("cancel"));
    request["experiment"] = "name: gpt\nresources: {nodes: 2}\nlaunch: {command: x}\n";
    CHECK(room.answer(request).at("state") == "pending");
    CHECK(room.files_with_secret().empty());
}

TEST_CASE("desk resume: a living run is left alone, a finished one is refused, a bad change is not taken") {
    DeskRoom room;
    const auto job = room.train();
    const auto living = room.answer(room.request("resume"));
    CHECK(living.at("resumed") == false);
    CHECK(living.at("state") == "running");
    CHECK(room.slurm.counters.submits == 1);

    room.answer(room.request("cancel"));
    auto bad = room.request("resume");
    bad["experiment"] = "name: gpt\nresources: {nodes: -1}\n";
    const auto before = room.read(room.paths.file("experiment.yaml"));
    CHECK(room.ask(bad).error().kind == ErrorKind::invalid);
    CHECK(room.read(room.paths.file("experiment.yaml")) == before);
    CHECK(room.ended());

    REQUIRE(write_record_file(room.files, room.paths.file("ended.json"), Ended{EndKind::finished, "done", AttemptNo{1}, 0}));
    CHECK(room.ask(room.request("resume")).error().kind == ErrorKind::refused);
    CHECK(room.slurm.job(job).phase == JobPhase::ended);
    CHECK(room.live() == 0);
}
