// What the ranks of a generation on this node do at this moment, for people who ask why they stalled: state, what the kernel
// says that they wait in, threads, CPU time, sockets, Python stacks (py-spy) and GPUs (nvidia-smi) where those are there.
// Collected by a process of its own, so that nothing that hangs on this node blocks the agent.
#pragma once

#include "agent/loop.h"
#include "agent/processes.h"
#include "base/fd.h"
#include "base/process.h"

#include <functional>
#include <string>
#include <vector>

namespace trainctl {

inline constexpr std::size_t max_evidence_summary_bytes = 2048;
inline constexpr std::size_t max_evidence_file_bytes = 4u << 20;

struct RankPid {
    int rank = 0;
    pid_t pid = 0;
};

struct EvidenceRequest {
    std::string file;           // where all goes: attempts/NNN/logs/gNN/<node>.evidence.txt
    Mark mark;                  // of the generation: its processes are found by it, and their ranks by RANK
    std::vector<RankPid> ranks; // where known; else found by the mark
    Environment environment;    // of the ranks: its PATH may hold py-spy
    Duration limit = std::chrono::seconds{8}; // for all
};

class EvidenceCollector {
public:
    // `program`: trainctl-agent, started as `trainctl-agent evidence`.
    EvidenceCollector(Loop &loop, std::string program) : loop_(loop), program_(std::move(program)) {}
    ~EvidenceCollector(); // leaves a collection that runs to its own end
    EvidenceCollector(const EvidenceCollector &) = delete;
    EvidenceCollector &operator=(const EvidenceCollector &) = delete;

    // Calls on_done exactly once, from the loop, half a second after the limit at the latest, with at most 2 KiB that
    // name what each rank waits in (or why that is not known). A collection that still runs is given up: its on_done is called
    // at once with what it has.
    void start(const EvidenceRequest &request, std::function<void(std::string summary)> on_done);
    bool running() const { return static_cast<bool>(on_done_); }

private:
    void read();
    void finish(const std::string &otherwise);

    Loop &loop_;
    std::string program_, text_;
    std::function<void(std::string)> on_done_;
    Fd output_;
    Loop::Timer timer_ = 0;
};

// `trainctl-agent evidence`: the request as JSON on stdin; on stdout summaries, each ended by a NUL and better than the
// one before.
int run_evidence();

} // namespace trainctl
