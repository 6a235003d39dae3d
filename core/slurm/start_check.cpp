#include "slurm/start_check.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace trainctl {

namespace {

struct Rule {
    std::string_view reason; // the whole word before any detail
    bool never;
    std::string_view why, hint;
};

constexpr std::string_view look = "compare with `scontrol show partition`, change `resources` and submit again";
constexpr std::string_view release = "`scontrol release <job>` lets it go on; after an administrator's hold only they can";
constexpr std::string_view other = "take another `resources.partition`, or wait until an administrator opens it";

// Slurm's job_state_reason table over its versions, less the ordinary reasons.
constexpr std::array rules{
    Rule{"PartitionNodeLimit", true, "it asks for more or fewer nodes than the partition allows", look},
    Rule{"PartitionTimeLimit", true, "its time limit is over the partition's", look},
    // Up to 22.05 this stands for the two above as well.
    Rule{"PartitionConfig", true, "it asks for more than the partition allows (nodes, time or CPUs)", look},
    Rule{"PartitionDown", true, "its partition is down", other},
    Rule{"PartitionInactive", true, "its partition is inactive", other},
    Rule{"BadConstraints", true, "no set of nodes can ever satisfy what it asks for", look},
    Rule{"DependencyNeverSatisfied", true, "the job it depends on did not end in the way it waits for", "cancel it"},
    Rule{"JobHeldUser", true, "it is held by its user", release},
    Rule{"JobHeldAdmin", true, "it is held by an administrator, or Slurm gave up on requeueing it", release},
    Rule{"JobHoldMaxRequeue", true, "it was requeued too often and is held", release},
    Rule{"launch failed requeued held", true, "its launch failed and it is held", release},
    Rule{"job requeued in held state", true, "it was requeued in held state", release},
    Rule{"user env retrieval failed requeued held", true, "its environment could not be read and it is held", release},
    Rule{"ReservationDeleted", true, "its reservation was deleted", "take another `resources.reservation`, or none"},
    Rule{"InvalidAccount", true, "its account is not valid", "`sacctmgr show associations user=$USER` lists yours"},
    Rule{"InvalidQOS", true, "its QOS is not valid", "`sacctmgr show associations user=$USER` lists yours"},
    Rule{"AccountNotAllowed", true, "the partition does not admit its account", look},
    Rule{"QOSNotAllowed", true, "the partition does not admit its QOS", look},
    Rule{"DeadLine", true, "it can't end before its deadline", ""},
    Rule{"NodesNotInPartition", true, "it asks for nodes that are not in its partition", look},
    Rule{"ReqNodeNotAvail", false, "nodes that it asks for are down, drained or reserved", "`sinfo -R` tells why"},
    Rule{"Nodes required for job are DOWN", false, "nodes that it needs are down, drained or reserved",
         "`sinfo -R` tells why"},
    Rule{"Reservation", false, "it waits for its reservation to begin", ""},
    Rule{"Licenses", false, "it waits for licenses", ""},
    Rule{"BeginTime", false, "its begin time has not come", ""},
    Rule{"BurstBufferOperation", false, "a burst buffer operation failed", "ask the administrators"},
    Rule{"FrontEndDown", false, "no front end node is up", ""},
    Rule{"MaxRequeue", true, "it was requeued too often", ""},
};

// "AssocMaxNodePerJobLimit", "QOSMaxWallDurationPerJobLimit", "QOSMinGRES": limits of one job, not of all together.
bool limits_one_job(std::string_view word) {
    return word.find("PerJob") != std::string_view::npos || word.find("PerNode") != std::string_view::npos ||
           starts_with(word, "QOSMin") || starts_with(word, "AssocMin");
}

std::string with_reason(std::string_view why, std::string_view reason) {
    return std::string{why} + " (" + std::string{reason} + ")";
}

} // namespace

std::optional<StartProblem> start_problem_of_reason(std::string_view reason) {
    reason = trim(reason);
    if (starts_with(reason, "(") && ends_with(reason, ")")) {
        reason.remove_prefix(1);
        reason.remove_suffix(1);
    }
    // scontrol writes "_" for blanks.
    std::string text{reason.substr(0, reason.find(','))};
    std::replace(text.begin(), text.end(), '_', ' ');
    for (const auto &rule : rules)
        if (text == rule.reason)
            return StartProblem{rule.never, with_reason(rule.why, reason), std::string{rule.hint}};
    const bool limit = starts_with(text, "Assoc") || starts_with(text, "QOS");
    if (limit && limits_one_job(text))
        return StartProblem{true, with_reason("one job may not have so much under its account or QOS", reason),
                            "ask for less time or fewer nodes; `sacctmgr show qos` and `sacctmgr show associations` list the limits"};
    if (limit || text == "MaxJobsPerUser" || text == "AssociationJobLimit" || text == "AssociationResourceLimit")
        return StartProblem{false, with_reason("a limit of its account or QOS is used up by other jobs", reason),
                            "`sacctmgr show qos` and `sacctmgr show associations` list the limits"};
    return std::nullopt;
}

std::optional<StartProblem> start_problem(const JobSighting &job) {
    if (job.phase != JobPhase::pending)
        return std::nullopt;
    return start_problem_of_reason(job.reason);
}

} // namespace trainctl
