// One job of anybody's as Slurm tells it, in the words that a person needs to understand its end: state, codes, times, and where
// its output went. Pure but for ask_for_job.
#pragma once

#include "slurm/parse.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// A job as people name it: "12345", a task of an array "12345_7", a component of a heterogeneous job "12345+1".
struct JobAddress {
    JobId id;
    std::optional<std::uint32_t> task, component;
    bool operator==(const JobAddress &) const = default;
};
std::optional<JobAddress> parse_job_address(std::string_view text);
std::string to_string(const JobAddress &address);

struct JobDetails {
    JobAddress address;
    JobId own;               // what Slurm calls it beside "12345_7" and "12345+1"
    std::string name, user;
    std::string state;       // as in JobSighting
    JobPhase phase = JobPhase::unknown;
    std::string reason;
    std::optional<std::uint32_t> cancelled_by; // uid, where sacct says so
    std::optional<int> exit_code, exit_signal; // of the batch script
    std::optional<int> step_code, step_signal; // the highest of its steps
    std::string nodes, batch_host, failed_node;
    std::optional<WallTime> submitted, started, ended;
    int restarts = 0;
    std::string work_dir, out, err; // absolute, placeholders filled in; empty: not known, or there is none
    bool out_guessed = false;       // from the command line, or sbatch's default
    std::string evidence;           // "scontrol", "sacct"
};

// scontrol's answer: one job, or all tasks of one; of a heterogeneous job always all components.
std::vector<std::string> scontrol_arguments(const JobAddress &address);
std::vector<JobDetails> details_of_scontrol(std::string_view text);

// sacct's, by sets of columns: a version that lacks one of a set refuses it, and the next set is asked for.
inline constexpr int sacct_column_sets = 3;
std::vector<std::string> sacct_arguments(const JobAddress &address, int set);
bool sacct_lacks_a_column(std::string_view said);
std::vector<JobDetails> details_of_sacct(std::string_view text, int set);

// Of all that was found the one to look at: the one that was asked for, else the first that ended badly, else the first.
const JobDetails *job_to_look_at(const std::vector<JobDetails> &found, const JobAddress &wanted);
bool ended_badly(const JobDetails &job);

// Asks scontrol, and sacct where the controller has forgotten the job. `run` runs one of Slurm's commands, by name, where times
// come as seconds. Error: that of `run`; unreachable where nobody could be asked; not_found where nobody knows the job.
using RunSlurm = std::function<Result<CommandResult>(const std::vector<std::string> &argv)>;
Result<std::vector<JobDetails>> ask_for_job(const JobAddress &address, const RunSlurm &run);

// sbatch(1), filename pattern: %A %a %b %J %j %N %n %s %t %u %x %%, with a width for numbers; a backslash keeps all as it is.
std::string expand_output_name(std::string_view pattern, const JobDetails &job);

} // namespace trainctl
