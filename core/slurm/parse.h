// Reads what Slurm's commands print as text: squeue and sacct rows of the columns that we ask for, and
// scontrol's records, one-line and multi-line, of every version. Pure. Bytes that are not UTF-8 become U+FFFD.
#pragma once

#include "base/clock.h"
#include "slurm/scheduler.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// The columns that we ask for; each exists in all versions from 16.05. The separator is one that no field has.
inline constexpr std::string_view squeue_separator = "\x1f";
inline constexpr std::string_view squeue_format = "%A\x1f%j\x1f%T\x1f%V\x1f%S\x1f%e\x1f%N\x1f%E\x1f%r";
inline constexpr std::string_view sacct_separator = "|"; // --parsable2; the host list, which has none, is last
inline constexpr std::string_view sacct_format = "JobIDRaw,JobName,State,ExitCode,Submit,Start,End,NodeList";

// Epoch seconds (SLURM_TIME_FORMAT=%s), or "2026-11-22T19:25:09", taken as UTC: commands run under TZ=UTC.
// "N/A", "Unknown", "None", "(null)" and the like are nothing.
std::optional<WallTime> parse_slurm_time(std::string_view text);

// "1-12:00:00", "30:00", "90" (minutes), with "UNLIMITED", "NONE", "Partition_Limit" as nothing.
std::optional<std::chrono::seconds> parse_time_limit(std::string_view text);

// "" for what Slurm writes where it has nothing.
std::string known_value(std::string_view text);

// The lines that have `columns` columns, the last one taking what is left. Lines without a separator (banners of
// wrappers, "CLUSTER: name" of -M) are passed over; one that has some but too few is `malformed`.
struct Rows {
    std::vector<std::vector<std::string>> rows;
    std::string malformed; // the first such line
};
Rows parse_rows(std::string_view text, std::string_view separator, std::size_t columns);

// The number that the job has of its own in "123", "123_4", "123+0", "123_[1-6%2]", "123.batch".
std::optional<JobId> parse_leading_id(std::string_view text);

struct Sightings {
    std::vector<JobSighting> jobs;
    std::string malformed; // a line that should be a job and is not: then the answer as a whole is not to be trusted
};
Sightings parse_squeue(std::string_view text); // of squeue_format
Sightings parse_sacct(std::string_view text);  // of sacct_format; steps are left out

// scontrol show: key=value, where a value may hold blanks and "=". The first of equal keys wins.
using Record = std::map<std::string, std::string>;
std::vector<Record> parse_records(std::string_view text);
std::string field(const Record &record, const std::string &key); // known_value, "" where there is none

std::optional<JobSighting> job_of_record(const Record &record);

struct Partition {
    std::string name, state, nodes; // "UP", "DOWN", "DRAIN", "INACTIVE"; a host list
    bool is_default = false;
    std::optional<std::chrono::seconds> max_time, default_time; // nothing: unlimited
    std::optional<int> max_nodes;
    int min_nodes = 0, total_nodes = 0;
};
std::optional<Partition> partition_of_record(const Record &record);

struct NodeInfo {
    std::string name, address, host_name, state, gres, reason; // state as Slurm writes it: "IDLE+DRAIN"
    int cpus = 0;
    std::uint64_t memory_mib = 0;
    std::vector<std::string> partitions;
};
std::optional<NodeInfo> node_of_record(const Record &record);

} // namespace trainctl
