#include "slurm/answers.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

namespace {

// Slurm's texts (slurm_errno.c) and the C library's, as they show when the controller or the way to it fails. Some
// of them prove that nothing was sent, but "later" is the right answer to all.
constexpr std::array silence{
    "Unable to contact slurm controller", "Communication connection failure", "Message send failure",
    "Message receive failure", "Communication shutdown failure", "Socket timed out", "Zero Bytes were transmitted",
    "Protocol authentication error", "Slurm backup controller in standby mode", "Controller is in standby mode",
    "Rate limit exceeded", "Connection timed out", "Connection refused", "Connection reset by peer", "Broken pipe",
    "No route to host", "Network is unreachable", "Transport endpoint is not connected",
    "Resource temporarily unavailable", "Connection rejected by handler", "Connection forced closed by quiesce",
    "Read would block", "Write would block", "Unexpected message received", "Insane message length",
    "Operation now in progress", "Incompatible versions of client and server", "Can't find an address",
    "Could not establish a configuration source", "Unable to process configuration file", "munge_encode failed",
    "munge_decode failed", "Munge encode failed", "Munge decode failed", "Munged communication error",
    "unable to generate munge credential", "Authentication credential expired",
    "Error creating authentication credential", "Interrupted system call"};

// The controller answered, but with something that passes.
constexpr std::array passing{
    "Unable to create job record, try again", "MaxJobCount limit reached",
    "Requested partition configuration not available now", "Requested nodes are busy",
    "I/O error writing script/environment to file", "Job can not be altered now, try again later",
    "Required ports are in use", "Prolog is still running", "PrologSlurmctld is still running",
    "SlurmctldProlog is still running", "Slurm internal error", "Unable to connect to database",
    "Database connection reference is invalid", "System submissions disabled",
    "Job can not start due to maintenance reservation", "try again in a bit", "temporarily unable to accept job"};

// A definite no: the controller's answers to a submit that it will give again, ...
constexpr std::array refusals{
    "Invalid partition name specified", "No partition specified or system default partition",
    "Access/permission denied", "User's group not permitted to use this partition",
    "Requested nodes not in this partition", "More processors requested than permitted",
    "Node count specification invalid", "Job size specification needs to be provided", "Job script not specified",
    "Invalid user id", "Invalid group id", "Duplicate job id", "Pathname of a file, directory or other parameter too long",
    "Immediate execution impossible", "Requested node configuration is not available", "Invalid node name specified",
    "Task distribution specification invalid", "Task count specification invalid", "Invalid feature specification",
    "Requested operation not supported on this system", "Requested operation is presently disabled",
    "Job dependency problem", "Only batch jobs are accepted or processed", "Memory required by task is not available",
    "Invalid account or account/partition combination specified", "Invalid qos specification",
    "Invalid QOS specification", "Invalid wckey specification", "Invalid license specification",
    "Job violates accounting/QOS policy", "Requested time limit is invalid", "Access denied to requested reservation",
    "Requested reservation is invalid", "Invalid time specified", "Requested reservation is in use",
    "Requested reservation not usable now", "Required node not available", "CPU count specification invalid",
    "Required partition not available", "Circular job dependency", "Invalid generic resource (gres) specification",
    "Requested account has breached requested QOS usage threshold", "Job can not start immediately",
    "Invalid job array specification", "Burst Buffer permission denied", "Burst Buffer resource limit exceeded",
    "Burst Buffer request invalid", "Invalid mcs_label specified", "Partition in DOWN state",
    "Duplicate generic resource (gres) specification", "X11 forwarding not available", "Job --batch option is invalid",
    "Invalid Trackable RESource (TRES) specification", "Invalid GRES specification",
    "Requested GRES option unsupported by configured SelectType plugin", "Invalid --nice value",
    "Invalid time-min specification", "Active features not subset of available features",
    "Environment is missing in job", "Multiple partition job request not supported",
    "Invalid preferred feature specification", "Job cannot be submitted without the current working directory",
    "Unable to resolve user ID to user name", "Unable to resolve group ID to group name",
    "Invalid or unknown association", "Invalid extra constraints specification", "RestrictedCoresPerGPU",
    "Requested topology configuration is not available", "Unspecified error",
    // ... and what sbatch says by itself before it asks anyone.
    "Unable to open file", "This does not look like a batch script", "Batch script is empty",
    "Batch script contains DOS line breaks", "Memory specification can not be satisfied"};

// getopt's words.
constexpr std::array argument_errors{"sbatch: unrecognized option", "sbatch: invalid option", "sbatch: option requires",
                                     "sbatch: option '", "sbatch: ambiguous option"};

template <class List> bool contains_any(std::string_view text, const List &list) {
    return std::any_of(list.begin(), list.end(),
                       [&](const char *part) { return text.find(part) != std::string_view::npos; });
}

// sbatch exits with -1 for its own arguments only, before it asks anyone: "sbatch: error: Invalid --time specification",
// "sbatch: unrecognized option '--x'". A wrapper's ssh may exit so too, hence the name in front.
bool bad_arguments(const CommandResult &result) {
    return result.exit_code == 255 &&
           (result.err.find("sbatch: error:") != std::string::npos || contains_any(result.err, argument_errors));
}

std::string lower(std::string_view text) {
    std::string out{text};
    for (char &c : out)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    return out;
}

// "123", "123;cluster", "Submitted batch job 123", "sbatch: Submitted batch job 123 on cluster c1"
std::optional<Submitted> submitted_in(std::string_view line) {
    std::string_view text = trim(line);
    constexpr std::string_view words = "submitted batch job ";
    std::string cluster;
    if (const auto at = lower(text).find(words); at != std::string::npos) {
        text.remove_prefix(at + words.size());
        constexpr std::string_view on = " on cluster ";
        if (const auto where = text.find(on); where != std::string_view::npos)
            cluster = trim(text.substr(where + on.size()));
        text = text.substr(0, text.find(' '));
    } else if (const auto semicolon = text.find(';'); semicolon != std::string_view::npos) {
        cluster = text.substr(semicolon + 1);
        if (cluster.empty() || cluster.find_first_of(" ;") != std::string::npos)
            return std::nullopt;
    }
    const auto id = parse_job_id(text);
    return id ? std::optional{Submitted{*id, cluster}} : std::nullopt;
}

constexpr std::size_t longest_quote = 4000; // of another program's words in a message

std::string quote(std::string_view text) {
    text = trim(text);
    return valid_utf8(text.substr(0, longest_quote)) + (text.size() > longest_quote ? " ..." : "");
}

// run_command gives 128 + signal; sbatch itself ends with 0, 1 or 255.
bool ended_by_signal(const CommandResult &result) { return result.exit_code > 128 && result.exit_code <= 128 + 64; }

} // namespace

bool controller_silent(std::string_view text) { return contains_any(text, silence); }

bool accounting_off(std::string_view text) {
    constexpr std::array texts{"accounting storage is disabled", "Accounting storage is disabled",
                               "accounting_storage/none"};
    return contains_any(text, texts);
}

bool no_such_job(std::string_view text) {
    constexpr std::array texts{"Invalid job id", "Invalid Job Id", "invalid job id", "No job found"};
    return contains_any(text, texts);
}

bool job_already_over(std::string_view text) {
    constexpr std::array texts{"already completing or completed", "Job has already finished", "Job is not running",
                               "Job is not pending nor running"};
    return contains_any(text, texts);
}

bool permission_denied(std::string_view text) { return text.find("Access/permission denied") != std::string_view::npos; }

std::string said(const CommandResult &result) {
    std::string text = quote(result.err);
    if (text.empty())
        text = quote(result.out);
    if (text.empty())
        return ended_by_signal(result) ? fmt::format("it was killed by signal {} and said nothing", result.exit_code - 128)
                                       : fmt::format("it ended with {} and said nothing", result.exit_code);
    return text;
}

SubmitAnswer submit_answer(const CommandResult &result) {
    std::optional<Submitted> submitted;
    for (const auto &line : split_lines(result.out))
        if (auto found = submitted_in(line))
            submitted = std::move(found);
    if (submitted)
        return *submitted;
    const std::string text = result.err + "\n" + result.out;
    if (result.ok())
        return SubmitUnknown{"sbatch ended well but printed no job id: " + said(result)};
    if (ended_by_signal(result) || controller_silent(text) || contains_any(text, passing))
        return SubmitUnknown{said(result)};
    if (contains_any(text, refusals) || bad_arguments(result))
        return Rejected{said(result)};
    return SubmitUnknown{said(result)};
}

SubmitAnswer submit_answer(const Error &error) {
    const bool never_started = error.kind == ErrorKind::not_found || error.kind == ErrorKind::denied;
    if (never_started)
        return Rejected{error.message};
    return SubmitUnknown{error.message};
}

Error slurm_error(const std::string &command, const CommandResult &result) {
    Error error{ErrorKind::io, said(result), command, ""}; // words that we don't know decide nothing
    const std::string text = result.err + "\n" + result.out;
    if (controller_silent(text)) {
        error.kind = ErrorKind::unreachable;
        error.hint = "Slurm's controller does not answer (`scontrol ping` tells); running jobs are not touched by that, "
                     "try again in a minute";
    } else if (permission_denied(text)) {
        error.kind = ErrorKind::denied;
        error.hint = "the job belongs to another user, or the site allows this to administrators only";
    } else if (no_such_job(text)) {
        error.kind = ErrorKind::not_found;
        error.hint = "Slurm forgets a job some minutes after its end (MinJobAge)";
    } else if (text.find(" not found") != std::string::npos) { // "Node n9 not found", "Partition x not found"
        error.kind = ErrorKind::not_found;
    } else if (ended_by_signal(result)) {
        error.kind = ErrorKind::interrupted;
    }
    return error;
}

} // namespace trainctl
