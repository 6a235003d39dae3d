// Small types for ids, so that a job can't be passed where an attempt is meant. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl {

// A Slurm job id. Comes round again on long-lived clusters: identity also needs submit time and name.
struct JobId {
    std::uint64_t value = 0;
    auto operator<=>(const JobId &) const = default;
};
std::string to_string(JobId id);
// Accepts "123" and "123;cluster" (sbatch --parsable with -M); anything else is nothing.
std::optional<JobId> parse_job_id(std::string_view text);

// A run: lower-case letters, digits and dashes, at most 48 characters, made by new_run_id().
struct RunId {
    std::string value;
    auto operator<=>(const RunId &) const = default;
};
bool valid_run_id(std::string_view text);

// An attempt of a run, from 1; written with three digits at least ("001").
struct AttemptNo {
    int value = 0;
    auto operator<=>(const AttemptNo &) const = default;
    AttemptNo next() const { return {value + 1}; }
};
std::string to_string(AttemptNo no);
std::optional<AttemptNo> parse_attempt_no(std::string_view text);

// The Slurm job name of an attempt: "tc-<run id>-NNN". The only key that survives a lost answer.
std::string job_name(const RunId &run, AttemptNo no);

} // namespace trainctl
