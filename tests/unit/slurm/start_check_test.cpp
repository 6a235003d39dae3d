#include "slurm/start_check.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("start check: reasons that end a job's chances") {
    for (const char *reason :
         {"PartitionNodeLimit", "PartitionTimeLimit", "PartitionConfig", "PartitionDown", "PartitionInactive",
          "BadConstraints", "DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin", "InvalidAccount", "InvalidQOS",
          "QOSMaxWallDurationPerJobLimit", "AssocMaxNodePerJobLimit", "QOSMaxCpuPerNode", "QOSMinGRES",
          "(PartitionTimeLimit)", "launch failed requeued held", "launch_failed_requeued_held", "ReservationDeleted"}) {
        CAPTURE(reason);
        const auto problem = start_problem_of_reason(reason);
        REQUIRE(problem.has_value());
        CHECK(problem->never);
        CHECK(problem->why.size() > 10);
    }
}

TEST_CASE("start check: reasons that make it wait") {
    for (const char *reason :
         {"ReqNodeNotAvail, UnavailableNodes:n[1-3]", "ReqNodeNotAvail,_UnavailableNodes:n1", "AssocMaxJobsLimit",
          "AssocGrpCpuLimit", "QOSGrpNodeLimit", "QOSMaxJobsPerUserLimit", "BeginTime", "Licenses",
          "(Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions)"}) {
        CAPTURE(reason);
        const auto problem = start_problem_of_reason(reason);
        REQUIRE(problem.has_value());
        CHECK_FALSE(problem->never);
        CHECK(problem->why.find('(') != std::string::npos);
    }
}

TEST_CASE("start check: ordinary waiting and unknown reasons are no problem") {
    for (const char *reason : {"", "None", "Priority", "Resources", "(Resources)", "Dependency", "SomethingNew"}) {
        CAPTURE(reason);
        CHECK_FALSE(start_problem_of_reason(reason).has_value());
    }
}

TEST_CASE("start check: only a waiting job has a problem") {
    JobSighting job;
    job.reason = "PartitionDown";
    job.phase = JobPhase::pending;
    CHECK(start_problem(job).has_value());
    for (const auto phase : {JobPhase::running, JobPhase::ended, JobPhase::unknown}) {
        job.phase = phase;
        CHECK_FALSE(start_problem(job).has_value());
    }
}
