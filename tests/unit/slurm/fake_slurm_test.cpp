#include "support/fake_slurm.h"

#include <doctest/doctest.h>

using namespace trainctl;
using std::chrono::seconds;

namespace {

JobId submit(FakeSlurm &slurm, const std::string &name, std::vector<std::string> options = {}) {
    options.push_back("--job-name=" + name);
    const auto answer = slurm.submit({options, "script", {}});
    REQUIRE(std::holds_alternative<Submitted>(answer));
    return std::get<Submitted>(answer).id;
}

std::vector<std::string> standby_of(JobId id) {
    return {"--dependency=afternotok:" + to_string(id), "--kill-on-invalid-dep=yes"};
}

} // namespace

TEST_CASE("fake Slurm: a job starts, ends and is forgotten, then accounting knows it") {
    FakeSlurm slurm;
    const JobId id = submit(slurm, "a");
    CHECK(slurm.find({"a"})->jobs.at(0).phase == JobPhase::pending);
    slurm.advance(seconds{2});
    CHECK(slurm.find({"a"})->jobs.at(0).phase == JobPhase::running);
    slurm.finish(id, 3);
    const auto ended = slurm.find({"a"});
    CHECK(ended->jobs.at(0).state == "FAILED");
    CHECK(ended->jobs.at(0).exit_code == 3);
    CHECK(ended->jobs.at(0).evidence == "squeue");
    slurm.advance(seconds{301});
    CHECK(slurm.find({"a"})->jobs.at(0).evidence == "sacct");
    slurm.accounting_down = true;
    CHECK(slurm.find({"a"})->jobs.empty());
    CHECK(slurm.counters.finds == 5);
}

TEST_CASE("fake Slurm: a standby starts after a bad end and dies after a good one") {
    for (const int exit_code : {0, 1}) {
        FakeSlurm slurm;
        const JobId first = submit(slurm, "a");
        slurm.advance(seconds{2});
        const JobId second = submit(slurm, "b", standby_of(first));
        slurm.advance(seconds{10});
        CHECK(slurm.job(second).reason == "Dependency");
        slurm.finish(first, exit_code);
        slurm.advance(seconds{2});
        CHECK(slurm.job(second).state == (exit_code == 0 ? "CANCELLED" : "RUNNING"));
    }
}

TEST_CASE("fake Slurm: cancelling fires the standby") {
    FakeSlurm slurm;
    const JobId first = submit(slurm, "a");
    slurm.advance(seconds{2});
    const JobId second = submit(slurm, "b", standby_of(first));
    CHECK(slurm.cancel({first, JobId{99}}).ok());
    slurm.advance(seconds{2});
    CHECK(slurm.job(first).state == "CANCELLED");
    CHECK(slurm.job(second).state == "RUNNING");
    slurm.advance(seconds{10});
    CHECK(slurm.find({"a"})->jobs.at(0).cancelled_by == 1000u);
}

TEST_CASE("fake Slurm: without killing, a dependency never satisfied waits for ever") {
    FakeSlurm slurm;
    const JobId first = submit(slurm, "a");
    slurm.advance(seconds{2});
    const JobId second = submit(slurm, "b", {"--dependency=afternotok:" + to_string(first)});
    slurm.finish(first, 0);
    slurm.advance(seconds{1000});
    CHECK(slurm.job(second).state == "PENDING");
    CHECK(slurm.job(second).reason == "DependencyNeverSatisfied");
}

TEST_CASE("fake Slurm: lost requests and lost answers look alike") {
    FakeSlurm slurm;
    slurm.next_submit = FakeSlurm::Fault::lost_request;
    CHECK(std::holds_alternative<SubmitUnknown>(slurm.submit({{"--job-name=a"}, "s", {}})));
    CHECK(slurm.find({"a"})->jobs.empty());
    slurm.next_submit = FakeSlurm::Fault::lost_answer;
    CHECK(std::holds_alternative<SubmitUnknown>(slurm.submit({{"--job-name=a"}, "s", {}})));
    CHECK(slurm.find({"a"})->jobs.size() == 1);
    slurm.next_submit = FakeSlurm::Fault::rejected;
    CHECK(std::holds_alternative<Rejected>(slurm.submit({{"--job-name=b"}, "s", {}})));
    CHECK(slurm.find({"b"})->jobs.at(0).reason == "BadConstraints");
    slurm.controller_down = true;
    CHECK_FALSE(slurm.find({"a"}).ok());
}

TEST_CASE("fake Slurm: limits, completing, nodes, requeue and updates") {
    FakeSlurm::Settings settings;
    settings.nodes = 2;
    settings.completing = seconds{3};
    FakeSlurm slurm{settings};
    const JobId id = submit(slurm, "a", {"--nodes=2", "--time=00:01:00"});
    const JobId other = submit(slurm, "b");
    slurm.advance(seconds{2});
    CHECK(slurm.job(other).reason == "Resources");
    CHECK(slurm.signal_batch(id, "USR2").ok());
    CHECK_FALSE(slurm.signal_batch(other, "USR2").ok());
    slurm.advance(seconds{60});
    CHECK(slurm.find({"a"})->jobs.at(0).state == "COMPLETING");
    CHECK(slurm.find({"a"})->jobs.at(0).phase == JobPhase::running);
    slurm.advance(seconds{5});
    CHECK(slurm.job(id).state == "TIMEOUT");
    CHECK(slurm.job(other).state == "RUNNING");
    CHECK(slurm.running("b").size() == 1);
    slurm.fail_node(*slurm.job(other).allocated.begin(), true);
    slurm.advance(seconds{5});
    CHECK(slurm.job(other).state == "NODE_FAIL");
    const JobId late = submit(slurm, "c", {"--nodes=2"});
    CHECK_FALSE(slurm.update_pending(late, {{"n1"}, {}}).ok());
    CHECK(slurm.job(late).reason == "BadConstraints");
    CHECK(slurm.update_pending(late, {{}, 1}).ok());
    slurm.requeue(other);
    CHECK(slurm.job(other).restarts == 1);
    CHECK(slurm.job(other).phase == JobPhase::pending);
}
