#include "slurm/parse.h"

#include "base/text.h"
#include "slurm/states.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <utility>

namespace trainctl {

namespace {

template <class T> std::optional<T> number(std::string_view text) {
    T value{};
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    return ec == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
}

// "a:b"
void take_exit_code(std::string_view text, JobSighting &job) {
    const auto colon = text.find(':');
    const auto code = number<int>(text.substr(0, colon));
    const auto signal = colon == std::string_view::npos ? std::nullopt : number<int>(text.substr(colon + 1));
    if (code && signal) {
        job.exit_code = code;
        job.exit_signal = signal;
    }
}

void take_state(std::string_view text, JobSighting &job) {
    JobState state = read_state(text);
    job.state = valid_utf8(state.text);
    job.phase = state.phase;
    job.cancelled_by = state.cancelled_by;
}

// A job that waits has no start or end yet: Slurm prints its plans for them.
void drop_plans(JobSighting &job) {
    if (job.phase == JobPhase::pending)
        job.started = std::nullopt;
    if (job.phase != JobPhase::ended)
        job.ended = std::nullopt;
}

} // namespace

std::string known_value(std::string_view text) {
    constexpr std::array nothing{"N/A", "n/a", "Unknown", "UNKNOWN", "None", "NONE", "(null)", "None assigned", "NULL"};
    text = trim(text);
    if (std::find(nothing.begin(), nothing.end(), text) != nothing.end())
        return "";
    return valid_utf8(text);
}

std::optional<WallTime> parse_slurm_time(std::string_view text) {
    text = trim(text);
    if (const auto seconds = number<std::int64_t>(text))
        return *seconds > 0 ? std::optional{from_unix_seconds(*seconds)} : std::nullopt;
    // Offsets of the fields in "2026-11-22T19:25:09".
    constexpr std::string_view shape = "0000-00-00T00:00:00";
    if (text.size() != shape.size())
        return std::nullopt;
    for (std::size_t i = 0; i < shape.size(); ++i)
        if (shape[i] == '0' ? (text[i] < '0' || text[i] > '9') : text[i] != shape[i])
            return std::nullopt;
    const auto part = [&](std::size_t from, std::size_t size) { return number<int>(text.substr(from, size)).value_or(0); };
    std::tm fields{};
    fields.tm_year = part(0, 4) - 1900;
    fields.tm_mon = part(5, 2) - 1;
    fields.tm_mday = part(8, 2);
    fields.tm_hour = part(11, 2);
    fields.tm_min = part(14, 2);
    fields.tm_sec = part(17, 2);
    const std::time_t seconds = ::timegm(&fields);
    return seconds > 0 ? std::optional{from_unix_seconds(seconds)} : std::nullopt;
}

std::optional<std::chrono::seconds> parse_time_limit(std::string_view text) {
    text = trim(text);
    std::int64_t days = 0;
    const auto dash = text.find('-');
    const bool has_days = dash != std::string_view::npos;
    if (has_days) {
        days = number<std::int64_t>(text.substr(0, dash)).value_or(-1);
        text.remove_prefix(dash + 1);
    }
    std::vector<std::int64_t> parts;
    for (const auto &part : split(text, ':'))
        parts.push_back(number<std::int64_t>(part).value_or(-1));
    constexpr std::int64_t most = 1'000'000'000; // 30 years in seconds: bounds the arithmetic below
    if (days < 0 || days > most || parts.size() > 3)
        return std::nullopt;
    for (const auto part : parts)
        if (part < 0 || part > most)
            return std::nullopt;
    // sbatch(1): minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes[:seconds]
    std::int64_t hours = 0, minutes = 0, seconds = 0;
    if (has_days || parts.size() == 3) {
        hours = parts[0];
        minutes = parts.size() > 1 ? parts[1] : 0;
        seconds = parts.size() > 2 ? parts[2] : 0;
    } else {
        minutes = parts[0];
        seconds = parts.size() > 1 ? parts[1] : 0;
    }
    return std::chrono::seconds{((days * 24 + hours) * 60 + minutes) * 60 + seconds};
}

Rows parse_rows(std::string_view text, std::string_view separator, std::size_t columns) {
    Rows result;
    for (const auto &line : split_lines(text)) {
        std::vector<std::string> row;
        std::string_view rest{line};
        if (starts_with(rest, "CLUSTER: ") || rest.find(separator) == std::string_view::npos)
            continue;
        while (row.size() + 1 < columns) {
            const auto at = rest.find(separator);
            if (at == std::string_view::npos)
                break;
            row.emplace_back(rest.substr(0, at));
            rest.remove_prefix(at + separator.size());
        }
        row.emplace_back(rest);
        if (row.size() == columns)
            result.rows.push_back(std::move(row));
        else if (result.malformed.empty())
            result.malformed = valid_utf8(line);
    }
    return result;
}

std::optional<JobId> parse_leading_id(std::string_view text) {
    text = trim(text);
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9')
        ++digits;
    if (digits < text.size() && std::string_view{"_+.;"}.find(text[digits]) == std::string_view::npos)
        return std::nullopt;
    return parse_job_id(text.substr(0, digits));
}

namespace {

// What squeue's and sacct's rows have both, each at its own place.
struct Places {
    std::size_t id, name, state, submitted, started, ended, nodes;
};

std::optional<JobSighting> job_of_row(const std::vector<std::string> &row, const Places &at) {
    const auto id = parse_leading_id(row[at.id]);
    if (!id)
        return std::nullopt;
    JobSighting job;
    job.id = *id;
    job.name = valid_utf8(row[at.name]);
    take_state(row[at.state], job);
    job.submitted = parse_slurm_time(row[at.submitted]);
    job.started = parse_slurm_time(row[at.started]);
    job.ended = parse_slurm_time(row[at.ended]);
    job.nodes = known_value(row[at.nodes]);
    drop_plans(job);
    return job;
}

// `add_rest` takes what only this command prints.
template <class AddRest> Sightings jobs_of_rows(const Rows &rows, const Places &at, AddRest add_rest) {
    Sightings result{{}, rows.malformed};
    for (const auto &row : rows.rows) {
        auto job = job_of_row(row, at);
        if (!job) {
            result.malformed = valid_utf8(join(row, " "));
            continue;
        }
        add_rest(row, *job);
        result.jobs.push_back(std::move(*job));
    }
    return result;
}

} // namespace

Sightings parse_squeue(std::string_view text) {
    enum : std::size_t { id, name, state, submitted, started, ended, nodes, dependency, reason, columns };
    return jobs_of_rows(parse_rows(text, squeue_separator, columns), {id, name, state, submitted, started, ended, nodes},
                        [](const std::vector<std::string> &row, JobSighting &job) {
                            job.dependency = known_value(row[dependency]);
                            job.reason = known_value(row[reason]);
                            job.evidence = "squeue";
                        });
}

Sightings parse_sacct(std::string_view text) {
    enum : std::size_t { id, name, state, exit_code, submitted, started, ended, nodes, columns };
    Rows rows = parse_rows(text, sacct_separator, columns);
    std::erase_if(rows.rows, [](const auto &row) { return row[id].find('.') != std::string::npos; }); // steps
    return jobs_of_rows(rows, {id, name, state, submitted, started, ended, nodes},
                        [](const std::vector<std::string> &row, JobSighting &job) {
                            job.evidence = "sacct";
                            if (job.phase == JobPhase::ended)
                                take_exit_code(row[exit_code], job);
                        });
}

std::optional<JobSighting> job_of_record(const Record &record) {
    const auto id = parse_job_id(field(record, "JobId"));
    if (!id)
        return std::nullopt;
    JobSighting job;
    job.id = *id;
    job.name = field(record, "JobName");
    take_state(field(record, "JobState"), job);
    job.reason = field(record, "Reason");
    job.nodes = field(record, "NodeList");
    job.dependency = field(record, "Dependency");
    job.restarts = number<int>(field(record, "Restarts")).value_or(0);
    job.submitted = parse_slurm_time(field(record, "SubmitTime"));
    job.started = parse_slurm_time(field(record, "StartTime"));
    job.ended = parse_slurm_time(field(record, "EndTime"));
    job.evidence = "scontrol";
    if (job.phase == JobPhase::ended)
        take_exit_code(field(record, "ExitCode"), job);
    drop_plans(job);
    return job;
}

std::optional<Partition> partition_of_record(const Record &record) {
    Partition partition;
    partition.name = field(record, "PartitionName");
    if (partition.name.empty())
        return std::nullopt;
    partition.state = field(record, "State");
    partition.nodes = field(record, "Nodes");
    partition.is_default = field(record, "Default") == "YES";
    partition.max_time = parse_time_limit(field(record, "MaxTime"));
    partition.default_time = parse_time_limit(field(record, "DefaultTime"));
    partition.max_nodes = number<int>(field(record, "MaxNodes"));
    partition.min_nodes = number<int>(field(record, "MinNodes")).value_or(0);
    partition.total_nodes = number<int>(field(record, "TotalNodes")).value_or(0);
    return partition;
}

std::optional<NodeInfo> node_of_record(const Record &record) {
    NodeInfo node;
    node.name = field(record, "NodeName");
    if (node.name.empty())
        return std::nullopt;
    node.address = field(record, "NodeAddr");
    node.host_name = field(record, "NodeHostName");
    node.state = field(record, "State");
    node.gres = field(record, "Gres");
    node.reason = field(record, "Reason");
    node.cpus = number<int>(field(record, "CPUTot")).value_or(0);
    node.memory_mib = number<std::uint64_t>(field(record, "RealMemory")).value_or(0);
    const std::string partitions = field(record, "Partitions");
    if (!partitions.empty())
        node.partitions = split(partitions, ',');
    return node;
}

} // namespace trainctl
