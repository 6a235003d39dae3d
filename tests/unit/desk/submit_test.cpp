#include "desk_room.h"
#include "run/run_rules.h"

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

void check_secrets(DeskRoom &room) {
    CHECK(room.files_with_secret() == std::vector{room.paths.file("secrets.json")});
    CHECK(room.open_to_others().empty());
    for (const auto &[id, job] : room.slurm.jobs())
        for (const auto &[name, value] : job.environment)
            CHECK(value.find(secret_value) == std::string::npos);
    for (const auto &message : room.said)
        CHECK(dump_json(message).find(secret_value) == std::string::npos);
}

// The one job of the run trains, and the run knows it.
void check_one_job(DeskRoom &room) {
    CHECK(room.slurm.jobs().size() == 1);
    CHECK(live_jobs(room.slurm, "tc-gpt-abcde-001") == 1);
    CHECK(!room.ended());
    CHECK(room.read(room.checkpoints + "/.trainctl-run") == room.paths.dir() + "\n");
    room.slurm.advance(5s);
    CHECK(room.answer(room.request("status")).at("state") == "running");
    check_secrets(room);
}

} // namespace

TEST_CASE("desk submit: makes the run and its first job, and says so") {
    DeskRoom room;
    const auto answer = room.answer(room.submit_request());
    CHECK(answer.at("run") == "gpt-abcde");
    CHECK(answer.at("state") == "pending");
    CHECK(answer.at("job") == 1);
    CHECK(answer.at("never_starts") == "");
    CHECK(answer.at("dir") == room.paths.dir());
    check_one_job(room);
    const auto &job = room.slurm.job(JobId{1});
    CHECK(job.nodes == 2);
    CHECK(job.environment.at("FROM_PROFILE") == "1");
    CHECK(!job.environment.contains("API_KEY"));
    CHECK(room.read(job.script_path)->find("trainctl-agent-0123456789abcdef-$arch") != std::string::npos);
    CHECK(room.read(room.paths.file("code.diff")) == "+a line\xff\n"); // every byte of it
    CHECK(!room.read(room.paths.file("code.diff.cut")));
}

TEST_CASE("desk submit: whichever effect fails and however, submit again leaves one job, whole and once") {
    int effects = 0;
    for_each_fault([&](const FaultPlan &plan) {
        DeskRoom room;
        Actor first{room.slurm, "first"};
        first.plan = plan;
        survives([&] { (void)room.ask(first, room.submit_request()).ok(); });
        CHECK(room.answer(room.submit_request()).at("job") == 1);
        check_one_job(room);
        effects = std::max(effects, first.plan.effects);
        return first.plan;
    });
    CHECK(effects >= 16); // folders, mark, four files, run.json, attempt, script, intent, sbatch, job.json
}

TEST_CASE("desk submit: whichever effect fails and however, status and resume go on with a run that is there") {
    for (const char *verb : {"status", "resume"}) {
        CAPTURE(verb);
        for_each_fault([&](const FaultPlan &plan) {
            DeskRoom room;
            Actor first{room.slurm, "first"};
            first.plan = plan;
            survives([&] { (void)room.ask(first, room.submit_request()).ok(); });
            auto next = room.ask(room.request(verb));
            if (!next) { // not made yet: nothing was submitted, and submit makes it
                CHECK(next.error().kind == ErrorKind::not_found);
                CHECK(room.slurm.jobs().empty());
                next = room.ask(room.submit_request());
            }
            REQUIRE(next);
            CHECK(next->at("state") == "pending");
            check_one_job(room);
            return first.plan;
        });
    }
}

TEST_CASE("desk submit: a second failure on top of the first changes nothing") {
    for (int before = 0; before < 20; before += 4) {
        for_each_fault([&](const FaultPlan &plan) {
            CAPTURE(before);
            DeskRoom room;
            Actor first{room.slurm, "first"}, second{room.slurm, "second"};
            first.plan = {before, FaultMode::lost_answer};
            second.plan = plan;
            survives([&] { (void)room.ask(first, room.submit_request()).ok(); });
            survives([&] { (void)room.ask(second, room.submit_request()).ok(); });
            CHECK(room.answer(room.submit_request()).at("job") == 1);
            CHECK(room.slurm.jobs().size() == 1);
            return second.plan;
        });
    }
}

TEST_CASE("desk submit: again after its answer is the same run, the same job") {
    DeskRoom room;
    const auto first = room.answer(room.submit_request());
    room.slurm.advance(5s);
    const auto again = room.answer(room.submit_request());
    CHECK(again.at("job") == first.at("job"));
    CHECK(again.at("state") == "running");
    CHECK(room.slurm.counters.submits == 1);
}

TEST_CASE("desk submit: a job that sbatch refused is a final answer with its words, however often it is asked") {
    DeskRoom room;
    room.slurm.next_submit = FakeSlurm::Fault::rejected;
    for (int round = 0; round < 2; ++round) {
        const auto refused = room.ask(room.submit_request());
        REQUIRE(!refused);
        CHECK(refused.error().kind == ErrorKind::refused);
        CHECK(refused.error().message.find(room.slurm.rejection) != std::string::npos);
    }
    CHECK(room.slurm.counters.submits == 1);
    CHECK(room.ended()->kind == EndKind::failed);
    CHECK(room.live() == 0);
    CHECK(room.answer(room.request("resume")).at("state") == "pending"); // the cluster was put right
    CHECK(room.live() == 1);
}

TEST_CASE("desk submit: nothing is made where Slurm is silent, the code is missing, or the request makes no sense") {
    struct Row {
        const char *name;
        std::function<void(DeskRoom &, Json &)> set;
        const char *error;
    };
    const std::vector<Row> rows{
        {"silent", [](DeskRoom &room, Json &) { room.no_partitions = Error{ErrorKind::unreachable, "no contact", "", ""}; }, "no contact"},
        {"no run id", [](DeskRoom &, Json &request) { request["run"] = "../gpt"; }, "no run id"},
        {"no experiment", [](DeskRoom &, Json &request) { request["experiment"] = "name: [gpt]\n"; }, "name"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.name);
        DeskRoom room;
        auto request = room.submit_request();
        row.set(room, request);
        const auto refused = room.ask(request);
        REQUIRE(!refused);
        CHECK(refused.error().text().find(row.error) != std::string::npos);
        CHECK(room.files.list(room.root + "/runs").value().empty());
        CHECK(room.slurm.jobs().empty());
    }
    DeskRoom room;
    auto request = room.submit_request();
    request["info"]["code_hash"] = "cafe";
    CHECK(room.answer(request).at("need_code") == room.root + "/code/cafe.tar");
    CHECK(room.files.list(room.root + "/runs").value().empty());
    REQUIRE(room.files.write(room.root + "/code/cafe.tar", "archive"));
    CHECK(room.answer(request).at("job") == 1);
}

TEST_CASE("desk submit: Slurm falls silent at sbatch: that is not known, and the next submit goes on") {
    DeskRoom room;
    room.slurm.controller_down = true;
    const auto begun = room.slurm.now();
    const auto unknown = room.answer(room.submit_request());
    CHECK(unknown.at("state") == "unknown");
    CHECK(room.slurm.now() - begun <= 40s); // somebody waits for this answer
    room.slurm.controller_down = false;
    CHECK(room.answer(room.submit_request()).at("job") == 1);
    check_one_job(room);
}

TEST_CASE("desk submit: a checkpoint folder belongs to one living run, and a refused one leaves nothing") {
    DeskRoom room;
    room.answer(room.submit_request());
    const auto refused = room.ask(room.submit_request("other-abcde"));
    REQUIRE(!refused);
    CHECK(refused.error().kind == ErrorKind::refused);
    CHECK(refused.error().message.find("gpt-abcde") != std::string::npos);
    CHECK(room.files.list(room.root + "/runs").value() == std::vector<std::string>{"gpt-abcde"});
    room.answer(room.request("cancel"));
    CHECK(room.answer(room.submit_request("other-abcde")).at("state") == "pending");
    const auto taken = room.ask(room.request("resume")); // now the folder is the other's
    REQUIRE(!taken);
    CHECK(taken.error().kind == ErrorKind::refused);
    CHECK(room.ended());
    CHECK(room.live() == 1);
}

TEST_CASE("desk submit: a checkpoint folder is one whatever it is called") {
    for (const auto *dir : {"../shared", "../../runs/shared/", "./x/../../shared"}) {
        CAPTURE(dir);
        DeskRoom room;
        room.checkpoints = dir;
        room.answer(room.submit_request());
        room.checkpoints = "../shared";
        CHECK(!room.ask(room.submit_request("other-abcde")));
    }
}

TEST_CASE("desk submit: no job is made for a run that lost its checkpoint folder to another") {
    DeskRoom room;
    Actor first{room.slurm, "first"};
    for (first.plan.at = 0; !room.read(room.paths.file("run.json")); ++first.plan.at) { // dies when the run is just made
        first.plan = {first.plan.at, FaultMode::die_after};
        survives([&] { (void)room.ask(first, room.submit_request()).ok(); });
    }
    const RunPaths other{room.root, RunId{"other-abcde"}};
    REQUIRE(room.files.make_dirs(other.dir()));
    REQUIRE(write_record_file(room.files, other.file("run.json"), RunInfo{}));
    REQUIRE(room.files.write(room.checkpoints + "/.trainctl-run.1", other.dir() + "\n"));
    for (const char *verb : {"status", "resume"})
        CHECK(room.ask(room.request(verb)).error().kind == ErrorKind::refused);
    CHECK(room.ask(room.submit_request()).error().kind == ErrorKind::refused);
    CHECK(room.slurm.jobs().empty());
}

TEST_CASE("desk submit: of two runs that take over a checkpoint folder at once one gets it, at whatever moment the other comes") {
    bool met = true;
    for (int moment = 0; met; ++moment) {
        CAPTURE(moment);
        DeskRoom room;
        room.answer(room.submit_request("old-abcde"));
        room.answer({{"verb", "cancel"}, {"run", "old-abcde"}});
        struct SlowFiles final : FaultyFiles { // before its effect number `moment` the other's whole submit
            SlowFiles(DeskRoom &all, FaultPlan &plan, int number) : FaultyFiles(plan), room(all), left(number) {}
            DeskRoom &room;
            int left;
            bool met = false, fast_made = false;
            void turn() {
                if (left-- != 0)
                    return;
                met = true;
                fast_made = room.ask(room.submit_request("fast-abcde")).ok();
            }
            Result<void> write(const std::string &path, std::string_view text) override { return turn(), FaultyFiles::write(path, text); }
            Result<bool> publish(const std::string &path, std::string_view text) override { return turn(), FaultyFiles::publish(path, text); }
        };
        Actor slow{room.slurm, "slow"};
        SlowFiles files{room, slow.plan, moment};
        const auto made = room.ask(slow, files, room.submit_request("slow-abcde")).ok();
        met = files.met;
        CHECK((made ? 1 : 0) + (files.fast_made ? 1 : 0) == 1);
        CHECK(room.live() == 1);
    }
}

TEST_CASE("desk submit: a job that its partition can never run is said at once") {
    struct Row {
        std::function<void(Partition &)> set;
        const char *why;
    };
    const std::vector<Row> rows{
        {[](Partition &partition) { partition.state = "DOWN"; }, "partition main is DOWN"},
        {[](Partition &partition) { partition.max_nodes = 1; }, "2 nodes are asked for, partition main allows 1"},
        {[](Partition &partition) { partition.total_nodes = 1; }, "2 nodes are asked for, partition main has 1"},
        {[](Partition &partition) { partition.is_default = false; partition.state = "DOWN"; }, ""},
    };
    for (const auto &row : rows) {
        DeskRoom room;
        row.set(room.cluster[0]);
        CHECK(room.answer(room.submit_request()).at("never_starts") == row.why);
    }
}

TEST_CASE("desk submit: rules for failures go with the run, a resume changes its own, and explain tells of them") {
    const std::string flux = "rules:\n  - name: flux\n    pattern: 'flux capacitor empty'\n    class: storage-io\n";
    DeskRoom room;
    auto request = room.submit_request();
    request["rules"] = {{own_rules_file, flux}, {cluster_rules_file, ""}, {"../evil.yaml", flux}};
    room.answer(request);
    CHECK(room.read(room.paths.file(own_rules_file)) == flux);
    CHECK(!room.read(room.paths.file(cluster_rules_file)));
    CHECK(!room.read(room.root + "/runs/evil.yaml"));
    const auto told = room.answer(room.request("explain"));
    CHECK(told.at("own_rules").at("rules").at(0).at("name") == "flux");
    CHECK(told.at("own_rules").at("files") == Json::array({own_rules_file}));
    auto policy = room.request("explain");
    policy["policy"] = true;
    CHECK(room.answer(policy).at("classes").size() == builtin_failures().classes.size());

    room.answer(room.request("cancel"));
    REQUIRE(room.ended());
    auto resume = room.request("resume");
    resume["rules"] = {{own_rules_file, flux + "    severity: 12\n"}};
    room.answer(resume);
    CHECK(room.read(room.paths.file(own_rules_file)) == flux + "    severity: 12\n");
    room.answer(room.request("cancel"));
    resume["rules"] = {{own_rules_file, ""}};
    room.answer(resume);
    CHECK(!room.read(room.paths.file(own_rules_file)));
    CHECK(room.answer(room.request("explain")).at("own_rules").at("rules").empty());
}
