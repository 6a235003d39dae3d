// Whether a node is fit to train: disks, memory, clock, chips. Looking may hang, so it is done by
// `trainctl-agent preflight`, a process that its starter gives a limit; NodePreflight is that starter.
#pragma once

#include "base/process.h"
#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

struct PreflightSpec {
    std::string run_dir, checkpoint_dir;
    std::uint64_t min_free_mib = 0;
    std::uint64_t job_memory_mib = 0; // of this node; 0: unknown
    std::string check;                // shell; empty: none
    int chips_per_node = 0;           // 0: chips are not looked at
    std::string chip;
    std::int64_t head_clock_ms = 0;   // Unix milliseconds when the order was sent; 0: unknown
    std::string log_path;
    Environment environment;          // of the tools and of `check`
    std::string directory;            // of `check`
    double chips_since_s = 0;         // above 0: at nothing but chips, in little time, for what befell them since then (CLOCK_MONOTONIC)
};

// doing: what is being looked at, until the next; shared: bad, but no fault of this node.
enum class Finding { doing, fine, warning, bad, shared, end };

struct PreflightLine {
    Finding finding = Finding::fine;
    std::string text;
    std::string fact = {}; // of a bad one: what failure rules know as "saw <fact>"; empty: none of them does
};

struct PreflightResult {
    bool ok = false;
    bool by_node = false; // what is bad is the node's own, and not a place that all nodes share
    std::string text; // one line a finding: what was measured, what was expected; of a bad node what is bad, first
    std::vector<PreflightLine> faults; // of them those that rules know
};
// How the process tells: one line each, "bad disk: ...", "bad:gpu-ecc chip 0 ..."; nothing for what is not such a line.
std::string to_string(const PreflightLine &line);
std::optional<PreflightLine> parse_preflight_line(std::string_view text);

// Without `environment`, which the process has as its own.
std::string preflight_spec_text(const PreflightSpec &spec);
Result<PreflightSpec> preflight_spec_from(std::string_view text);

struct DiskSeen {
    std::string what, path;       // "the run's folder"; the nearest folder that exists
    std::uint64_t free_bytes = 0; // for us, not for root
    std::uint64_t free_inodes = 0, inodes = 0; // inodes 0: the file system does not count them
};
std::vector<PreflightLine> judge_disk(const DiskSeen &disk, std::uint64_t min_free_mib);

struct MemorySeen {
    std::uint64_t available_mib = 0, total_mib = 0; // of the machine; 0: unknown
    std::optional<std::uint64_t> cgroup_mib;        // the least limit that we are under
};
std::vector<PreflightLine> judge_memory(const MemorySeen &memory, std::uint64_t job_memory_mib);

// The least limit of a job's process: from /proc/self/cgroup, read below `root` ("/sys/fs/cgroup"), v1 and v2.
std::optional<std::uint64_t> cgroup_limit_mib(std::string_view own_cgroups, const std::string &root);

// Clocks hurt no protocol of ours, so this is never bad; the order's way here counts as difference.
std::vector<PreflightLine> judge_clock(std::int64_t head_ms, std::int64_t here_ms);

// The process: the spec on stdin, lines on stdout. Always 0 once it has said "end".
int preflight_main(const std::vector<std::string> &arguments);

} // namespace trainctl
