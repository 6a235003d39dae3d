#include "slurm/parse.h"

#include "unit/slurm/fixtures.h"

#include <algorithm>

using namespace trainctl;

namespace {

const JobSighting *named(const std::vector<JobSighting> &jobs, const std::string &name) {
    const auto at = std::find_if(jobs.begin(), jobs.end(), [&](const JobSighting &job) { return job.name == name; });
    return at == jobs.end() ? nullptr : &*at;
}

const JobSighting &get(const std::vector<JobSighting> &jobs, const std::string &name) {
    const auto *job = named(jobs, name);
    CAPTURE(name);
    REQUIRE(job != nullptr);
    return *job;
}

struct Expected { const char *name, *state; JobPhase phase; const char *reason; };

// What became of the jobs of the recording.
const std::vector<Expected> recorded = {
    {"tc-run-001", "RUNNING", JobPhase::running, ""},
    {"tc-run-002", "PENDING", JobPhase::pending, "Dependency"},
    {"tc-done-001", "COMPLETED", JobPhase::ended, ""},
    {"tc-failed-001", "FAILED", JobPhase::ended, "NonZeroExitCode"},
    {"tc-timeout-001", "TIMEOUT", JobPhase::ended, "TimeLimit"},
    {"tc-never-001", "PENDING", JobPhase::pending, "DependencyNeverSatisfied"},
    {"tc-never-002", "CANCELLED", JobPhase::ended, "DependencyNeverSatisfied"},
    {"tc-nodes-001", "PENDING", JobPhase::pending, "PartitionNodeLimit"},
    {"tc-time-001", "PENDING", JobPhase::pending, "PartitionTimeLimit"},
    {"tc-down-001", "PENDING", JobPhase::pending, "PartitionDown"},
    {"tc-held-001", "PENDING", JobPhase::pending, "JobHeldUser"},
    {"tc-begin-001", "PENDING", JobPhase::pending, "BeginTime"},
    {"tc-cancelled-001", "CANCELLED", JobPhase::ended, ""},
    {"tc-killed-001", "FAILED", JobPhase::ended, "JobLaunchFailure"},
    {"tc-ghost-001", "FAILED", JobPhase::ended, "BadConstraints"},
};

} // namespace

TEST_CASE("parse: squeue's rows of a real Slurm") {
    const auto found = parse_squeue(fixture("squeue_all.txt"));
    CHECK(found.malformed.empty());
    for (const auto &[name, state, phase, reason] : recorded) {
        const auto &job = get(found.jobs, name);
        CAPTURE(name);
        CHECK(job.state == state);
        CHECK(job.phase == phase);
        CHECK(job.reason == reason);
        CHECK(job.submitted.has_value());
        CHECK(job.started.has_value() == (phase != JobPhase::pending));
        CHECK(job.ended.has_value() == (phase == JobPhase::ended));
        CHECK(job.evidence == "squeue");
    }
    CHECK(get(found.jobs, "tc-run-001").nodes == "n[1-2]");
    CHECK(get(found.jobs, "tc-run-002").nodes.empty());
    CHECK(starts_with(get(found.jobs, "tc-run-002").dependency, "afternotok:"));
    CHECK(get(found.jobs, "tc-run-001").dependency.empty());
}

TEST_CASE("parse: a completing job has not ended") {
    const auto found = parse_squeue(fixture("squeue_completing.txt"));
    REQUIRE(found.jobs.size() == 1);
    CHECK(found.jobs[0].state == "COMPLETING");
    CHECK(found.jobs[0].phase == JobPhase::running);
    CHECK_FALSE(found.jobs[0].ended.has_value());

    const auto records = parse_records(fixture("scontrol_completing.txt"));
    REQUIRE(records.size() == 1);
    const auto job = job_of_record(records[0]);
    REQUIRE(job.has_value());
    CHECK(job->state == "COMPLETING");
    CHECK(job->phase == JobPhase::running);
    CHECK_FALSE(job->exit_code.has_value());
}

TEST_CASE("parse: sacct's rows of a real Slurm") {
    const auto found = parse_sacct(fixture("sacct_all.txt"));
    CHECK(found.malformed.empty());
    CHECK(get(found.jobs, "tc-failed-001").exit_code == 3);
    CHECK(get(found.jobs, "tc-failed-001").exit_signal == 0);
    CHECK(get(found.jobs, "tc-killed-001").exit_signal == 9);
    CHECK(get(found.jobs, "tc-cancelled-001").cancelled_by == 1000u);
    CHECK(get(found.jobs, "tc-cancelled-001").state == "CANCELLED");
    CHECK(get(found.jobs, "tc-never-002").phase == JobPhase::ended);
    CHECK(get(found.jobs, "tc-timeout-001").state == "TIMEOUT");
    CHECK_FALSE(get(found.jobs, "tc-run-001").exit_code.has_value());
    CHECK(get(found.jobs, "tc-run-001").nodes == "n[1-2]");
    CHECK(get(found.jobs, "tc-nodes-001").nodes.empty());
    for (const auto &job : found.jobs)
        CHECK(job.phase != JobPhase::unknown);
}

TEST_CASE("parse: sacct's steps are left out") {
    const auto found = parse_sacct("5|a|COMPLETED|0:0|1|2|3|n1\n5.batch|batch|FAILED|1:0|1|2|3|n1\n5.0|x|FAILED|1:0|1|2|3|n1\n");
    REQUIRE(found.jobs.size() == 1);
    CHECK(found.jobs[0].name == "a");
    const auto all = parse_sacct(fixture("sacct_steps.txt"));
    CHECK(all.malformed.empty());
    CHECK(named(all.jobs, "batch") == nullptr);
    CHECK(all.jobs.size() > 10);
}

TEST_CASE("parse: squeue and scontrol agree on every job") {
    const auto listed = parse_squeue(fixture("squeue_all.txt"));
    for (const char *file : {"scontrol_show_job.txt", "scontrol_show_job_oneline.txt"}) {
        CAPTURE(file);
        const auto records = parse_records(fixture(file));
        CHECK(records.size() == listed.jobs.size());
        for (const auto &record : records) {
            const auto job = job_of_record(record);
            REQUIRE(job.has_value());
            const auto at = std::find_if(listed.jobs.begin(), listed.jobs.end(),
                                         [&](const JobSighting &other) { return other.id == job->id; });
            REQUIRE(at != listed.jobs.end());
            CAPTURE(job->name);
            CHECK(job->name == at->name);
            CHECK(job->state == at->state);
            CHECK(job->phase == at->phase);
            CHECK(job->reason == at->reason);
            CHECK(job->nodes == at->nodes);
            CHECK(job->dependency == at->dependency);
            CHECK(job->submitted == at->submitted);
            CHECK(job->exit_code.has_value() == (job->phase == JobPhase::ended));
        }
    }
}

TEST_CASE("parse: partitions and nodes") {
    std::vector<Partition> partitions;
    for (const auto &record : parse_records(fixture("scontrol_show_partition_oneline.txt")))
        partitions.push_back(partition_of_record(record).value());
    REQUIRE(partitions.size() == 3);
    CHECK(partitions[0].name == "main");
    CHECK(partitions[0].is_default);
    CHECK_FALSE(partitions[0].max_time.has_value());
    CHECK_FALSE(partitions[0].max_nodes.has_value());
    CHECK(partitions[0].total_nodes == 4);
    CHECK(partitions[0].nodes == "n[1-4]");
    CHECK(partitions[1].max_time == std::chrono::minutes{30});
    CHECK(partitions[1].max_nodes == 2);
    CHECK(partitions[2].state == "DOWN");

    std::vector<NodeInfo> nodes;
    for (const auto &record : parse_records(fixture("scontrol_show_node_oneline.txt")))
        nodes.push_back(node_of_record(record).value());
    REQUIRE(nodes.size() == 4);
    CHECK(nodes[0].name == "n1");
    CHECK(nodes[0].address == "127.0.0.1");
    CHECK(nodes[0].host_name == "localhost");
    CHECK(nodes[0].cpus == 4);
    CHECK(nodes[0].partitions == std::vector<std::string>{"main", "short", "down"});
}

TEST_CASE("parse: times") {
    CHECK(parse_slurm_time("1795380922") == from_unix_seconds(1795380922));
    CHECK(parse_slurm_time("2026-11-22T19:25:09") == from_unix_seconds(1795375509));
    for (const char *text : {"", "N/A", "Unknown", "None", "(null)", "NONE", "0", "2026-11-22", "2026-11-22 19:25:09", "-5", "12x"})
        CHECK_FALSE(parse_slurm_time(text).has_value());
}

TEST_CASE("parse: time limits") {
    using namespace std::chrono;
    CHECK(parse_time_limit("30:00") == minutes{30});
    CHECK(parse_time_limit("01:00:00") == hours{1});
    CHECK(parse_time_limit("7-00:00:00") == hours{24 * 7});
    CHECK(parse_time_limit("1-12") == hours{36});
    CHECK(parse_time_limit("90") == minutes{90});
    for (const char *text : {"UNLIMITED", "NONE", "", "Partition_Limit", "INVALID", "x-1", "1-", "1:2:3:4", "-5", "99999999999"})
        CHECK_FALSE(parse_time_limit(text).has_value());
}

TEST_CASE("parse: ids") {
    CHECK(parse_leading_id("123") == JobId{123});
    CHECK(parse_leading_id("46_[1-6%2]") == JobId{46});
    CHECK(parse_leading_id("44+1") == JobId{44});
    CHECK(parse_leading_id("12.batch") == JobId{12});
    for (const char *text : {"", "x", "12x", "0", "JOBID", "-1", "99999999999999999999999"})
        CHECK_FALSE(parse_leading_id(text).has_value());
}

TEST_CASE("parse: banners and cluster lines are passed over, torn rows are told") {
    const std::string row = "7\x1f" "tc-a-001\x1fRUNNING\x1f" "100\x1f" "200\x1fNONE\x1fn1\x1f(null)\x1fNone";
    auto found = parse_squeue("Welcome!\nCLUSTER: c1\n\n" + row + "\n");
    CHECK(found.malformed.empty());
    REQUIRE(found.jobs.size() == 1);
    CHECK(found.jobs[0].id == JobId{7});
    found = parse_squeue(row + "\n" + row.substr(0, 20));
    CHECK(found.jobs.size() == 1);
    CHECK_FALSE(found.malformed.empty());
    found = parse_squeue("x" + row);
    CHECK(found.jobs.empty());
    CHECK_FALSE(found.malformed.empty());
    CHECK(parse_squeue("").jobs.empty());
}

TEST_CASE("parse: an unknown state is kept and has not ended") {
    const auto found = parse_squeue("7\x1f" "a\x1fHIBERNATING\x1f" "100\x1f" "200\x1f" "300\x1fn1\x1f(null)\x1fNone");
    REQUIRE(found.jobs.size() == 1);
    CHECK(found.jobs[0].state == "HIBERNATING");
    CHECK(found.jobs[0].phase == JobPhase::unknown);
    CHECK_FALSE(found.jobs[0].ended.has_value());
}

TEST_CASE("parse: bytes that are not UTF-8") {
    const auto found = parse_squeue("7\x1f" "a\xff" "b\x1fRUNNING\x1f" "100\x1f" "200\x1fNONE\x1fn1\x1f(null)\x1f\xc3(");
    REQUIRE(found.jobs.size() == 1);
    CHECK(found.jobs[0].name == "a\xef\xbf\xbd" "b");
    CHECK(found.jobs[0].reason == "\xef\xbf\xbd(");
    CHECK(field(parse_records("JobId=1 JobName=\xff")[0], "JobName") == "\xef\xbf\xbd");
}

TEST_CASE("parse: record values with blanks and equal signs") {
    const std::string text = "JobId=9 JobName=two words a=b\n"
                             "   UserId=u(1) GroupId=g(1)\n"
                             "   JobState=RUNNING Reason=None Dependency=(null)\n"
                             "   Command=/home/u/run it.sh --Lr=3 JobState=FAILED\n"
                             "   SubmitLine=sbatch --export=A=B x.sh\n"
                             "   Comment=JobState=COMPLETED\n"
                             "\n"
                             "noise NodeName=zz\n"
                             "JobId=10 JobName=next UserId=u(1) JobState=FAILED ExitCode=2:0 Restarts=3 TRES=cpu=4,mem=1G\n";
    const auto records = parse_records(text);
    REQUIRE(records.size() == 2);
    CHECK(field(records[0], "JobName") == "two words a=b");
    CHECK(field(records[0], "JobState") == "RUNNING");
    CHECK(field(records[0], "Command") == "/home/u/run it.sh --Lr=3 JobState=FAILED");
    CHECK(field(records[0], "SubmitLine") == "sbatch --export=A=B x.sh");
    CHECK(field(records[0], "Comment") == "JobState=COMPLETED");
    CHECK(field(records[0], "Dependency").empty());
    CHECK(field(records[1], "TRES") == "cpu=4,mem=1G");
    const auto job = job_of_record(records[1]);
    REQUIRE(job.has_value());
    CHECK(job->exit_code == 2);
    CHECK(job->restarts == 3);
    CHECK(parse_records("No jobs in the system\n").empty());
}
