// What /proc says of the processes of one rank, and how it is told to people. Reading may hang for a process whose
// memory is locked: only a process that may hang does it.
#pragma once

#include "agent/evidence.h"

#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

struct ProcessFacts {
    pid_t pid = 0;
    std::string name, state, waits_in; // "python3", "S", "futex_wait_queue" or "" where the kernel does not say
    int threads = 0;
    std::uint64_t cpu_ticks = 0;       // so far
};
// Nothing of a process that is gone: pid 0.
ProcessFacts process_facts(pid_t pid);

struct RankFacts {
    int rank = 0;
    ProcessFacts main;              // the one that trains, as far as can be told: that with most threads
    std::vector<ProcessFacts> all;  // it included
    std::map<std::string, int> threads; // of the main process: "S futex_wait_queue" -> 30
    double cpu_share = -1;          // of one CPU, of all processes; -1: not measured yet
    std::string sockets;            // "tcp: 4 ESTABLISHED, 1 CLOSE_WAIT"
    std::string frames;             // the innermost ones of its Python stack, innermost first
};
RankFacts rank_facts(int rank, const std::vector<pid_t> &processes);

// The processes of each rank: those given and what descends from them, or those with the mark and a RANK.
std::map<int, std::vector<pid_t>> processes_of_ranks(const std::vector<RankPid> &given, const Mark &mark);

std::string sockets_of(pid_t pid);
// All about one process and each of its threads, for the file: bounded.
std::string full_text(pid_t pid);

// Of what `py-spy dump` printed: the main thread's innermost three frames, "all_reduce (dist.py:12) < step (train.py:80)". Pure.
std::string innermost_frames(const std::string &dump);
// One line for ranks that do the same, at most max_evidence_summary_bytes in all. Pure.
std::string evidence_summary(const std::vector<RankFacts> &ranks, const std::string &chips);

} // namespace trainctl
