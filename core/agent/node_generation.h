// One generation on one node: the guard with its ranks, their output, their ends.
#pragma once

#include "agent/guard.h"
#include "agent/log_writer.h"
#include "agent/loop.h"
#include "agent/messages.h"
#include "agent/oom_kills.h"
#include "agent/processes.h"
#include "agent/progress_file.h"
#include "agent/rank_output.h"
#include "agent/srun_ranks.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace trainctl {

class NodeGeneration {
public:
    struct Setting {
        std::string program, node;
        NodeConfig config;
        Environment base;  // what setup left
        Instant lease_end;
        std::function<void()> on_change; // exits, deaths, progress
        std::function<void(const std::string &)> log;
    };

    NodeGeneration(Loop &loop, LogWriter &logs, Setting setting, StartSpec spec);
    ~NodeGeneration();

    Result<void> start();
    void kill();
    void send_signal(const std::string &name); // "USR1"
    void renew(Instant lease_end);

    int number() const { return spec_.generation; }
    bool has_first_rank() const { return spec_.node_rank == 0; }
    const std::vector<RankExit> &exits() const { return exits_; }
    bool all_dead() const { return dead_; }
    bool doubtful() const { return doubtful_; }
    const ProgressFound &progress() const { return progress_; }
    const std::string &activity() const { return activity_; } // as the training's progress file says
    void look();         // at what the kernel counts
    Sight sight() const; // once a rank ended: before that there is nothing to explain

private:
    struct Stream;
    struct RankState;

    GuardSpec guard_spec() const;
    Result<Guard> launch_guard();
    void read_output(std::size_t stream);
    void read_news();
    void take_exit(const GuardedExit &exit);
    void take_line(std::size_t rank, const std::string &line);
    void close_streams();
    void guard_gone();
    void kill_leftovers();
    void read_progress_files();
    void take_progress(std::size_t rank, const ProgressFound &found);

    Loop &loop_;
    LogWriter &logs_;
    Setting setting_;
    StartSpec spec_;
    ProgressScan scan_;
    Guard guard_;
    std::unique_ptr<SrunRanks> tasks_; // of kind srun
    Instant started_;
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<std::unique_ptr<RankState>> ranks_;
    std::vector<RankExit> exits_;
    OomWatch oom_;
    ProgressFound progress_;
    std::string log_path_, activity_, progress_folder_;
    std::vector<ProgressFileReader> progress_files_; // by local rank
    Loop::Timer timer_ = 0, progress_timer_ = 0;
    Instant gone_since_;
    bool dead_ = false, doubtful_ = false, first_rank_prints_ = false;
};

// CPUs for each rank where each can have at least one and the job owns all that we may use; else empty.
std::vector<std::vector<int>> share_cpus(const std::vector<int> &cpus, int ranks);

// `environment` without what belongs to Slurm's step and to MPI launchers: their values are those of the agent's
// step and wrong for ranks.
Environment without_launcher_variables(Environment environment);

} // namespace trainctl
