// What nvidia-smi, rocm-smi and the kernel's log say of a node's chips, and whether that is fit to train. Pure.
#pragma once

#include "agent/preflight.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

struct ChipSeen {
    int index = 0;
    std::string pci, uuid, name;   // pci as "0000:3b:00"
    bool mig = false;
    std::int64_t uncorrected = 0;  // volatile ECC errors: since the driver was loaded; -1: not said
    bool repair_pending = false;   // retired pages or remapped rows that wait for a reset
    bool repair_failed = false;    // a row could not be remapped
};

struct ChipsAnswer {
    std::vector<ChipSeen> chips;
    std::vector<std::string> lost;    // lines that say that a chip does not answer
    std::vector<std::string> strange; // lines that are no rows
};

// The arguments after the program, and what to make of the answer.
extern const std::vector<std::string> nvidia_query, nvidia_short_query, nvidia_rows_query, rocm_query, rocm_ras_query;
ChipsAnswer parse_nvidia(std::string_view csv); // of both queries
void add_remapped_rows(std::string_view csv, std::vector<ChipSeen> &chips);
ChipsAnswer parse_rocm(std::string_view csv);
// One warning for each row with errors of `rocm-smi --showrasinfo all`. Not more: it prints correctable errors under
// the heading of uncorrectable ones and the other way round, in the versions with both.
std::vector<PreflightLine> judge_rocm_errors(std::string_view table);

// Of nvidia-smi: its exit code says that the driver or a chip is broken, not that we asked for the wrong thing.
bool nvidia_says_broken(int exit_code);

struct XidSeen {
    int code = 0;
    std::string pci;         // as above
    double seconds = -1;     // since boot; -1: the line has no time
    std::string line;
};
std::vector<XidSeen> parse_xids(std::string_view kernel_log);
bool is_fatal_xid(int code);

// The chips that CUDA_VISIBLE_DEVICES names, where the machine shows more than the job has; else all.
std::vector<ChipSeen> chips_of_job(const std::vector<ChipSeen> &all, int chips_per_node, std::string_view visible);

std::vector<PreflightLine> judge_chips(const std::string &tool, const ChipsAnswer &answer, int chips_per_node);
// Of Xids older than `recent_seconds` it is only told: what broke a chip longer ago was seen, and mended, by others.
std::vector<PreflightLine> judge_xids(const std::vector<XidSeen> &xids, const std::vector<ChipSeen> &chips, double uptime_seconds, double recent_seconds = 3600);

} // namespace trainctl
