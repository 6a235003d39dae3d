#include "slurm/slurm_scheduler.h"

#include "unit/slurm/fixtures.h"

#include <algorithm>
#include <functional>

using namespace trainctl;

namespace {

using Answer = Result<CommandResult>;

CommandResult fine(std::string out) { return {0, std::move(out), "", false}; }
CommandResult fails(int code, std::string err) { return {code, "", std::move(err), false}; }

// Plays Slurm's commands by their names and remembers what was asked.
struct Player {
    std::map<std::string, std::function<Answer(const Command &)>> tools;
    std::vector<Command> asked;

    CommandRunner runner() {
        return [this](const Command &command) -> Answer {
            asked.push_back(command);
            const auto at = tools.find(base_name(command.argv[0]));
            REQUIRE(at != tools.end());
            return at->second(command);
        };
    }
    void say(const std::string &tool, Answer answer) {
        tools[tool] = [answer](const Command &) { return answer; };
    }
    int count(const std::string &tool) const {
        return static_cast<int>(std::count_if(asked.begin(), asked.end(), [&](const Command &command) {
            return base_name(command.argv[0]) == tool;
        }));
    }
};

SlurmTools tools() {
    return {"/s/sbatch", "/s/squeue", "/s/sacct", "/s/scontrol", "/s/scancel", {{"PATH", "/s"}, {"TZ", "UTC"}}, ""};
}

std::string squeue_row(int id, const std::string &name, const std::string &state, const std::string &reason = "None") {
    return std::to_string(id) + "\x1f" + name + "\x1f" + state + "\x1f" "1000\x1f" "1001\x1f" "1002\x1fn1\x1f(null)\x1f" + reason + "\n";
}

bool has_argument(const Command &command, const std::string &argument) {
    return std::find(command.argv.begin(), command.argv.end(), argument) != command.argv.end();
}

const std::string disabled = "Slurm accounting storage is disabled\n";
const std::string down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n";

} // namespace

TEST_CASE("scheduler: submit gives sbatch the options, the script and the request's environment only") {
    Player slurm;
    slurm.say("sbatch", fine("77\n"));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    const auto answer = scheduler.submit({{"--job-name=tc-a-001", "--nodes=2"}, "/r/script.sbatch", {{"PATH", "/bin"}}});
    REQUIRE(std::holds_alternative<Submitted>(answer));
    CHECK(std::get<Submitted>(answer).id == JobId{77});
    REQUIRE(slurm.asked.size() == 1);
    CHECK(slurm.asked[0].argv == std::vector<std::string>{"/s/sbatch", "--parsable", "--job-name=tc-a-001", "--nodes=2", "/r/script.sbatch"});
    CHECK(slurm.asked[0].environment == Environment{{"PATH", "/bin"}});
    CHECK(slurm.asked[0].input.empty());
    CHECK(slurm.asked[0].deadline > std::chrono::seconds{150});

    slurm.say("sbatch", Error{ErrorKind::timeout, "sbatch did not answer within 170 s", "", ""});
    CHECK(std::holds_alternative<SubmitUnknown>(scheduler.submit({})));
    slurm.say("sbatch", Error{ErrorKind::not_found, "/s/sbatch: no such program", "", ""});
    CHECK(std::holds_alternative<Rejected>(scheduler.submit({})));
}

TEST_CASE("scheduler: jobs in the queue cost one squeue and nothing else") {
    Player slurm;
    slurm.say("squeue", fine(squeue_row(5, "tc-a-001", "RUNNING") + squeue_row(6, "tc-a-002", "PENDING", "Dependency") +
                             squeue_row(7, "somebody else", "RUNNING")));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    const auto found = scheduler.find({"tc-a-001", "tc-a-002"});
    REQUIRE(found.ok());
    CHECK(found->accounting);
    REQUIRE(found->jobs.size() == 2);
    CHECK(found->jobs[0].phase == JobPhase::running);
    CHECK(found->jobs[1].reason == "Dependency");
    REQUIRE(slurm.asked.size() == 1);
    CHECK(has_argument(slurm.asked[0], "--name=tc-a-001,tc-a-002"));
    CHECK(has_argument(slurm.asked[0], "-a"));
    CHECK_FALSE(has_argument(slurm.asked[0], "-u"));
}

TEST_CASE("scheduler: one user's jobs") {
    Player slurm;
    slurm.say("squeue", fine(""));
    slurm.say("sacct", fine(""));
    auto mine = tools();
    mine.user = "1000";
    SlurmScheduler scheduler{mine, slurm.runner()};
    const auto found = scheduler.find({"tc-a-001"});
    REQUIRE(found.ok());
    CHECK(found->jobs.empty());
    REQUIRE(slurm.asked.size() == 2);
    for (const auto &command : slurm.asked)
        CHECK(has_argument(command, "1000"));
    CHECK_FALSE(has_argument(slurm.asked[1], "-a"));
}

TEST_CASE("scheduler: no names cost nothing") {
    Player slurm;
    SlurmScheduler scheduler{tools(), slurm.runner()};
    CHECK(scheduler.find({})->jobs.empty());
    CHECK(slurm.asked.empty());
}

TEST_CASE("scheduler: many names go in few calls") {
    Player slurm;
    slurm.say("squeue", fine(""));
    slurm.say("sacct", fails(1, disabled));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    std::vector<std::string> names;
    for (int i = 0; i < 1000; ++i)
        names.push_back("tc-run-" + std::to_string(i));
    CHECK(scheduler.find(names).ok());
    CHECK(slurm.count("squeue") == 3);
}

TEST_CASE("scheduler: a silent controller is an error and not an empty queue") {
    Player slurm;
    SlurmScheduler scheduler{tools(), slurm.runner()};
    slurm.say("squeue", fails(1, down));
    auto found = scheduler.find({"tc-a-001"});
    REQUIRE_FALSE(found.ok());
    CHECK(found.error().kind == ErrorKind::unreachable);
    CHECK_FALSE(found.error().hint.empty());
    slurm.say("squeue", CommandResult{0, "", down, false}); // an error text and a good exit code
    CHECK_FALSE(scheduler.find({"tc-a-001"}).ok());
    slurm.say("squeue", Error{ErrorKind::timeout, "squeue did not answer within 1 m", "", ""});
    found = scheduler.find({"tc-a-001"});
    REQUIRE_FALSE(found.ok());
    CHECK(found.error().kind == ErrorKind::timeout);
    CHECK_FALSE(found.error().hint.empty());
    slurm.say("squeue", CommandResult{0, squeue_row(1, "tc-a-001", "RUNNING"), "", true}); // cut off
    CHECK_FALSE(scheduler.find({"tc-a-001"}).ok());
    slurm.say("squeue", fine("5\x1ftc-a-001\x1fRUN"));
    found = scheduler.find({"tc-a-001"});
    REQUIRE_FALSE(found.ok());
    CHECK(found.error().kind == ErrorKind::invalid);
    CHECK(slurm.count("sacct") == 0);
}

TEST_CASE("scheduler: accounting adds what squeue has forgotten, and who cancelled") {
    Player slurm;
    slurm.say("squeue", fine(squeue_row(5, "tc-a-001", "CANCELLED")));
    slurm.say("sacct", fine("5|tc-a-001|CANCELLED by 1000|0:15|1000|1001|1002|n1\n"
                            "3|tc-a-000|FAILED|3:0|900|901|902|n1\n9|other|FAILED|1:0|900|901|902|n1\n"));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    const auto found = scheduler.find({"tc-a-001", "tc-a-000"});
    REQUIRE(found.ok());
    CHECK(found->accounting);
    REQUIRE(found->jobs.size() == 2);
    CHECK(found->jobs[0].cancelled_by == 1000u);
    CHECK(found->jobs[0].exit_signal == 15);
    CHECK(found->jobs[0].evidence == "squeue+sacct");
    CHECK(found->jobs[1].name == "tc-a-000");
    CHECK(found->jobs[1].exit_code == 3);
    CHECK(found->jobs[1].evidence == "sacct");
    CHECK(slurm.count("sacct") == 1);
    const auto &sacct = slurm.asked[1];
    CHECK(has_argument(sacct, "-S"));
    CHECK(has_argument(sacct, "-E"));
    CHECK(has_argument(sacct, "-X"));
}

TEST_CASE("scheduler: without accounting the answer says so, and exit codes come from scontrol") {
    Player slurm;
    slurm.say("squeue", fine(squeue_row(5, "tc-a-001", "FAILED", "NonZeroExitCode")));
    slurm.say("sacct", fails(1, disabled));
    slurm.say("scontrol", fine("JobId=5 JobName=tc-a-001 UserId=u(1) JobState=FAILED ExitCode=7:0 Restarts=2\n"));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    auto found = scheduler.find({"tc-a-001", "tc-gone-001"});
    REQUIRE(found.ok());
    CHECK_FALSE(found->accounting);
    REQUIRE(found->jobs.size() == 1);
    CHECK(found->jobs[0].exit_code == 7);
    CHECK(found->jobs[0].restarts == 2);
    CHECK(scheduler.find({"tc-a-001", "tc-gone-001"}).ok());
    CHECK(slurm.count("sacct") == 1); // it said once that there is none
}

TEST_CASE("scheduler: accounting that does not answer now is asked again") {
    Player slurm;
    slurm.say("squeue", fine(""));
    slurm.say("sacct", fails(1, "sacct: error: slurmdbd: Sending PersistInit msg: Connection refused\n"));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    CHECK(scheduler.find({"tc-a-001"})->accounting);
    slurm.say("sacct", CommandResult{0, "", "sacct: error: Problem talking to the database: Connection refused\n", false});
    CHECK(scheduler.find({"tc-a-001"})->accounting);
    slurm.say("sacct", Error{ErrorKind::timeout, "sacct did not answer", "", ""});
    CHECK(scheduler.find({"tc-a-001"})->accounting);
    CHECK(slurm.count("sacct") == 3);
}

TEST_CASE("scheduler: what accounting says of living jobs proves nothing") {
    Player slurm;
    slurm.say("squeue", fine(""));
    slurm.say("sacct", fine("3|tc-a-001|RUNNING|0:0|900|901|Unknown|n1\n"));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    const auto found = scheduler.find({"tc-a-001"});
    REQUIRE(found.ok());
    CHECK(found->jobs.empty()); // a record that was never closed: the controller knows no such job
}

TEST_CASE("scheduler: a record of an earlier life of the job changes nothing") {
    auto listed = parse_squeue(squeue_row(5, "tc-a-001", "FAILED"));
    const auto merged = merge_sightings(listed.jobs, parse_sacct("5|tc-a-001|NODE_FAIL|1:0|500|501|502|n1\n").jobs);
    REQUIRE(merged.size() == 1);
    CHECK(merged[0].state == "FAILED");
    CHECK_FALSE(merged[0].exit_code.has_value());
    // A live job stays live whatever accounting says.
    listed = parse_squeue(squeue_row(5, "tc-a-001", "RUNNING"));
    const auto live = merge_sightings(listed.jobs, parse_sacct("5|tc-a-001|FAILED|1:0|1000|501|502|n1\n").jobs);
    REQUIRE(live.size() == 1);
    CHECK(live[0].phase == JobPhase::running);
    // An id that came round again belongs to another name.
    CHECK(merge_sightings(listed.jobs, parse_sacct("5|tc-b-001|FAILED|1:0|100|501|502|n1\n").jobs).size() == 2);
}

TEST_CASE("scheduler: cancel is one call, and forgotten jobs are fine") {
    Player slurm;
    slurm.say("scancel", fine(""));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    CHECK(scheduler.cancel({JobId{1}, JobId{2}}).ok());
    CHECK(slurm.asked[0].argv == std::vector<std::string>{"/s/scancel", "1", "2"});
    CHECK(scheduler.cancel({}).ok());
    CHECK(slurm.asked.size() == 1);
    slurm.say("scancel", fails(1, "scancel: error: Kill job error on job id 1: Invalid job id specified\n"));
    CHECK(scheduler.cancel({JobId{1}}).ok());
    slurm.say("scancel", fails(8, "scancel: error: Kill job error on job id 1: Unable to contact slurm controller (connect failure)\n"));
    CHECK(scheduler.cancel({JobId{1}}).error().kind == ErrorKind::unreachable);
    slurm.say("scancel", fails(1, "scancel: error: Kill job error on job id 1: Access/permission denied\n"));
    CHECK(scheduler.cancel({JobId{1}}).error().kind == ErrorKind::denied);
}

TEST_CASE("scheduler: ringing a job") {
    Player slurm;
    slurm.say("scancel", fine(""));
    SlurmScheduler scheduler{tools(), slurm.runner()};
    CHECK(scheduler.signal_batch(JobId{4}, "USR2").ok());
    CHECK(slurm.asked[0].argv == std::vector<std::string>{"/s/scancel", "-s", "USR2", "-b", "4"});
    const auto gone = recorded_command("orders.txt", "scancel -s USR2 -b 999999");
    slurm.say("scancel", gone.result);
    CHECK(scheduler.signal_batch(JobId{999999}, "USR2").error().kind == ErrorKind::not_found);
}

TEST_CASE("scheduler: a change to a pending job is checked before and after") {
    Player slurm;
    std::string reason = "Dependency";
    slurm.tools["scontrol"] = [&](const Command &command) -> Answer {
        if (command.argv[1] == "update")
            return fine("");
        if (command.argv[2] == "partition")
            return fine(fixture("scontrol_show_partition_oneline.txt"));
        return fine("JobId=4 JobName=tc-a-002 UserId=u(1) JobState=PENDING Reason=" + reason +
                    " Dependency=(null) ExitCode=0:0 Partition=main NumNodes=2-2\n");
    };
    const auto updates = [&] {
        std::vector<Command> made;
        for (const auto &command : slurm.asked)
            if (command.argv[1] == "update")
                made.push_back(command);
        return made;
    };
    SlurmScheduler scheduler{tools(), slurm.runner()};
    CHECK(scheduler.update_pending(JobId{4}, {{"n1", "other"}, 3}).ok());
    REQUIRE(updates().size() == 1);
    CHECK(updates()[0].argv == std::vector<std::string>{"/s/scontrol", "update", "JobId=4", "ExcNodeList=n1,other", "NumNodes=3"});
    // Four nodes less three is one.
    const auto refused = scheduler.update_pending(JobId{4}, {{"n1", "n2", "n3"}, {}});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().kind == ErrorKind::refused);
    CHECK(refused.error().message.find("n[1-3]") != std::string::npos);
    CHECK(updates().size() == 1);
    CHECK(scheduler.update_pending(JobId{4}, {{"n1", "n2", "n3"}, 1}).ok());
    CHECK(updates().size() == 2);
    reason = "BadConstraints";
    CHECK(scheduler.update_pending(JobId{4}, {{"n1"}, {}}).error().kind == ErrorKind::refused);
    slurm.asked.clear();
    CHECK(scheduler.update_pending(JobId{4}, {}).ok());
    CHECK(slurm.asked.empty());
    slurm.say("scontrol", recorded_command("orders.txt", "scontrol update JobId=999999 NumNodes=1").result);
    CHECK(scheduler.update_pending(JobId{999999}, {{}, 1}).error().kind == ErrorKind::not_found);
}

TEST_CASE("scheduler: jobs, partitions and nodes from scontrol") {
    Player slurm;
    slurm.tools["scontrol"] = [&](const Command &command) -> Answer {
        if (command.argv[2] == "partition")
            return fine(fixture("scontrol_show_partition_oneline.txt"));
        if (command.argv[2] == "node")
            return fine(fixture("scontrol_show_node_oneline.txt"));
        return recorded_command("orders.txt", "scontrol show job -o 999999").result;
    };
    SlurmScheduler scheduler{tools(), slurm.runner()};
    CHECK(scheduler.partitions()->size() == 3);
    CHECK(scheduler.node_addresses("n[1-4]")->at("n3") == "127.0.0.1");
    const auto gone = scheduler.job(JobId{999999});
    REQUIRE(gone.ok());
    CHECK_FALSE(gone->has_value());
}

TEST_CASE("scheduler: a machine without Slurm is told from PATH") {
    const auto missing = find_slurm_tools({{"PATH", "/nowhere"}});
    REQUIRE_FALSE(missing.ok());
    CHECK(missing.error().kind == ErrorKind::not_found);
    CHECK(missing.error().message.find("sbatch") != std::string::npos);
    CHECK_FALSE(missing.error().hint.empty());
}
