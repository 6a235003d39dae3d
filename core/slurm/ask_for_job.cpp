#include "slurm/job_details.h"

#include "slurm/answers.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

// Nothing: sacct answered and has no such job. Error: it could not be asked.
Result<std::vector<JobDetails>> ask_accounting(const JobAddress &address, const RunSlurm &run) {
    Error last{ErrorKind::not_found, "", "sacct", ""};
    for (int set = 0; set < sacct_column_sets; ++set) {
        std::vector<std::string> argv{"sacct"};
        for (auto &argument : sacct_arguments(address, set))
            argv.push_back(std::move(argument));
        const auto result = run(argv);
        if (!result)
            return result.error();
        const bool failed = !result->ok() || result->err.find("error:") != std::string::npos; // it may end with 0 all the same
        if (!failed)
            return details_of_sacct(result->out, set);
        last = slurm_error("sacct", *result);
        if (!sacct_lacks_a_column(result->err + result->out))
            break;
    }
    return last;
}

} // namespace

Result<std::vector<JobDetails>> ask_for_job(const JobAddress &address, const RunSlurm &run) {
    std::vector<std::string> argv{"scontrol"};
    for (auto &argument : scontrol_arguments(address))
        argv.push_back(std::move(argument));
    const auto result = run(argv);
    if (!result && result.error().kind != ErrorKind::timeout)
        return result.error();
    if (result && result->ok())
        if (auto found = details_of_scontrol(result->out); !found.empty())
            return found;
    const bool forgotten = result && (result->ok() || no_such_job(result->err + result->out));
    auto found = ask_accounting(address, run);
    if (found && !found->empty())
        return found;
    if (!forgotten)
        return result ? slurm_error("scontrol show job", *result) : result.error();
    const auto accounting = found ? "accounting has no record of it" : "accounting could not be asked: " + found.error().message;
    return Error{ErrorKind::not_found, fmt::format("Slurm does not know job {}: its controller has forgotten it, or never had it, and {}", to_string(address), accounting),
                 "", "trainctl diagnose FILE... reads the logs of a job that Slurm has forgotten"};
}

} // namespace trainctl
