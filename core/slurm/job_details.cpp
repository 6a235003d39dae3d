#include "slurm/job_details.h"

#include "base/files.h"
#include "base/text.h"
#include "slurm/hostlist.h"
#include "slurm/states.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

constexpr std::string_view column_separator = "\x1f"; // no field has it
// Reason and SubmitLine are from 21.08 on, StdOut from 24.05 on. What may hold a newline comes last.
constexpr std::array<std::string_view, sacct_column_sets> columns{
    "JobID,JobIDRaw,JobName,User,State,ExitCode,DerivedExitCode,Submit,Start,End,NodeList,WorkDir,Reason,StdOut,StdErr,SubmitLine",
    "JobID,JobIDRaw,JobName,User,State,ExitCode,DerivedExitCode,Submit,Start,End,NodeList,WorkDir,Reason,SubmitLine",
    "JobID,JobIDRaw,JobName,User,State,ExitCode,DerivedExitCode,Submit,Start,End,NodeList"};
constexpr std::uint32_t no_task = 4294967294; // what Slurm fills in for %a of a job that is no array

std::optional<std::uint32_t> number(std::string_view text) {
    std::uint32_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    return failed == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
}

// "a:b"
void take_code(std::string_view text, std::optional<int> &code, std::optional<int> &signal) {
    const auto colon = text.find(':');
    const auto left = number(text.substr(0, colon));
    const auto right = colon == std::string_view::npos ? std::nullopt : number(text.substr(colon + 1));
    if (left && right)
        code = static_cast<int>(*left), signal = static_cast<int>(*right);
}

void take_state(std::string_view text, JobDetails &job) {
    const auto state = read_state(text);
    job.state = valid_utf8(state.text);
    job.phase = state.phase;
    job.cancelled_by = state.cancelled_by;
}

std::string first_host(const JobDetails &job) {
    if (!job.batch_host.empty())
        return job.batch_host;
    const auto hosts = expand_hostlist(job.nodes);
    return hosts && !hosts->empty() ? hosts->front() : "";
}

std::string in_folder(const JobDetails &job, const std::string &path) {
    return path.empty() || path[0] == '/' || job.work_dir.empty() ? path : join_path(job.work_dir, path);
}

// As sbatch(1) says: without --error all goes where --output says, and that is slurm-<job>.out otherwise.
void fill_outputs(JobDetails &job) {
    job.out = in_folder(job, expand_output_name(job.out, job));
    job.err = in_folder(job, expand_output_name(job.err, job));
    if (job.err.empty())
        job.err = job.out;
}

// The value of -o, --output and the like among sbatch's arguments, quotes of a shell aside.
std::string option_of(const std::string &line, std::string_view letter, std::string_view word) {
    const auto words = split(line, ' ');
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string_view one = words[i];
        const std::string &next = i + 1 < words.size() ? words[i + 1] : line;
        if ((one == letter || one == word) && i + 1 < words.size())
            return next;
        if (starts_with(one, std::string{word} + "="))
            return std::string{one.substr(word.size() + 1)};
        if (starts_with(one, letter) && one.size() > letter.size())
            return std::string{one.substr(letter.size())};
    }
    return "";
}

// Where accounting does not know the files: as they were given on the command line. What the script's #SBATCH lines say is
// not seen here.
void guess_outputs(JobDetails &job, const std::string &submit_line) {
    if (!job.out.empty() || job.work_dir.empty())
        return;
    job.out_guessed = true;
    job.out = option_of(submit_line, "-o", "--output");
    job.err = option_of(submit_line, "-e", "--error");
    if (job.out.empty())
        job.out = job.address.task ? "slurm-%A_%a.out" : "slurm-%j.out";
}

} // namespace

std::optional<JobAddress> parse_job_address(std::string_view text) {
    const auto cut = std::min(text.find_first_of("_+"), text.size());
    const auto id = parse_job_id(text.substr(0, cut));
    if (!id || to_string(*id) != text.substr(0, cut)) // no "12;cluster"
        return std::nullopt;
    JobAddress address{*id, {}, {}};
    if (cut == text.size())
        return address;
    (text[cut] == '_' ? address.task : address.component) = number(text.substr(cut + 1));
    return address.task || address.component ? std::optional{address} : std::nullopt;
}

std::string to_string(const JobAddress &address) {
    auto text = to_string(address.id);
    if (address.task)
        text += fmt::format("_{}", *address.task);
    if (address.component)
        text += fmt::format("+{}", *address.component);
    return text;
}

namespace {

// The first component has the output of them all.
std::string to_ask_for(JobAddress address) {
    address.component.reset();
    return to_string(address);
}

} // namespace

std::vector<std::string> scontrol_arguments(const JobAddress &address) {
    return {"show", "job", "--details", "--oneliner", to_ask_for(address)}; // without details no DerivedExitCode
}

std::vector<JobDetails> details_of_scontrol(std::string_view text) {
    std::vector<JobDetails> found;
    for (const auto &record : parse_records(text)) {
        const auto own = parse_job_id(field(record, "JobId"));
        if (!own)
            continue;
        JobDetails job;
        job.own = job.address.id = *own;
        if (const auto array = parse_job_id(field(record, "ArrayJobId")))
            job.address = {*array, number(field(record, "ArrayTaskId")), {}}; // "3-9": tasks that wait, as one
        for (const auto *name : {"HetJob", "PackJob"}) // 20.02 gave it its present name
            if (const auto leader = parse_job_id(field(record, std::string{name} + "Id")))
                job.address = {*leader, {}, number(field(record, std::string{name} + "Offset"))};
        job.name = field(record, "JobName");
        job.user = field(record, "UserId").substr(0, field(record, "UserId").find('('));
        take_state(field(record, "JobState"), job);
        job.reason = field(record, "Reason");
        take_code(field(record, "ExitCode"), job.exit_code, job.exit_signal);
        take_code(field(record, "DerivedExitCode"), job.step_code, job.step_signal);
        job.nodes = field(record, "NodeList");
        job.batch_host = field(record, "BatchHost");
        job.failed_node = field(record, "FailedNode");
        job.restarts = static_cast<int>(number(field(record, "Restarts")).value_or(0));
        job.submitted = parse_slurm_time(field(record, "SubmitTime"));
        job.started = parse_slurm_time(field(record, "StartTime"));
        job.ended = parse_slurm_time(field(record, "EndTime"));
        job.work_dir = field(record, "WorkDir");
        job.out = field(record, "StdOut");
        job.err = field(record, "StdErr");
        job.evidence = "scontrol";
        fill_outputs(job);
        found.push_back(std::move(job));
    }
    return found;
}

std::vector<std::string> sacct_arguments(const JobAddress &address, int set) {
    return {"-X", "-n", "-P", "--delimiter=" + std::string{column_separator}, "-j", to_ask_for(address),
            "--format=" + std::string{columns[static_cast<std::size_t>(set)]}};
}

bool sacct_lacks_a_column(std::string_view said) { return said.find("nvalid field requested") != std::string_view::npos; }

std::vector<JobDetails> details_of_sacct(std::string_view text, int set) {
    const auto names = split(columns[static_cast<std::size_t>(set)], ',');
    std::vector<JobDetails> found;
    for (const auto &row : parse_rows(text, column_separator, names.size()).rows) {
        const auto cell = [&](std::string_view name) {
            const auto at = std::find(names.begin(), names.end(), name);
            return at == names.end() ? "" : known_value(row[static_cast<std::size_t>(at - names.begin())]);
        };
        const auto own = parse_leading_id(cell("JobIDRaw"));
        const auto id = parse_leading_id(cell("JobID"));
        if (!own || !id)
            continue;
        JobDetails job;
        job.own = *own;
        job.address = parse_job_address(cell("JobID")).value_or(JobAddress{*id, {}, {}}); // "12_[3-9]": tasks that wait
        job.name = cell("JobName");
        job.user = cell("User");
        take_state(cell("State"), job);
        job.reason = cell("Reason");
        take_code(cell("ExitCode"), job.exit_code, job.exit_signal);
        take_code(cell("DerivedExitCode"), job.step_code, job.step_signal);
        job.nodes = cell("NodeList");
        job.submitted = parse_slurm_time(cell("Submit"));
        job.started = parse_slurm_time(cell("Start"));
        job.ended = parse_slurm_time(cell("End"));
        job.work_dir = cell("WorkDir");
        job.out = cell("StdOut");
        job.err = cell("StdErr");
        job.evidence = "sacct";
        guess_outputs(job, cell("SubmitLine"));
        fill_outputs(job);
        found.push_back(std::move(job));
    }
    return found;
}

bool ended_badly(const JobDetails &job) { return job.phase == JobPhase::ended && job.state != "COMPLETED"; }

const JobDetails *job_to_look_at(const std::vector<JobDetails> &found, const JobAddress &wanted) {
    if (found.size() == 1)
        return &found.front();
    const bool all = !wanted.task && !wanted.component;
    const auto at = std::find_if(found.begin(), found.end(), [&](const JobDetails &job) {
        return all ? ended_badly(job) : job.address == wanted;
    });
    if (at != found.end())
        return &*at;
    return all && !found.empty() ? &found.front() : nullptr;
}

std::string expand_output_name(std::string_view pattern, const JobDetails &job) {
    std::string out;
    if (pattern.find('\\') != std::string_view::npos) {
        std::copy_if(pattern.begin(), pattern.end(), std::back_inserter(out), [](char c) { return c != '\\'; });
        return out;
    }
    const auto host = first_host(job);
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        std::size_t end = i + 1;
        while (pattern[i] == '%' && end < pattern.size() && pattern[end] >= '0' && pattern[end] <= '9')
            ++end;
        if (pattern[i] != '%' || end >= pattern.size()) {
            out += pattern[i];
            continue;
        }
        constexpr std::uint32_t widest = 10;
        const auto width = std::min(number(pattern.substr(i + 1, end - i - 1)).value_or(0), widest);
        const auto add = [&](std::uint64_t value) { out += fmt::format("{:0{}}", value, width); };
        switch (pattern[end]) {
        case '%': out += '%'; break;
        case 'A': add(job.address.task ? job.address.id.value : job.own.value); break;
        case 'a': add(job.address.task.value_or(no_task)); break;
        case 'b': add(job.address.task.value_or(no_task) % 10); break;
        case 'J':
        case 'j': add(job.own.value); break;
        case 'N': out += host.substr(0, host.find('.')); break;
        case 'n':
        case 't': add(0); break;
        case 's': out += "batch"; break;
        case 'u': out += job.user; break;
        case 'x': out += job.name; break;
        default: out += pattern.substr(i, end + 1 - i); break;
        }
        i = end;
    }
    return out;
}

} // namespace trainctl
