// Ranks that srun starts (launch kind srun), on the head's side: one srun for each generation, over its members in their
// order. How the ranks themselves are held is told in srun_ranks.h.
#pragma once

#include "agent/head_step.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace trainctl {

struct RanksStep {
    int generation = 0, ranks_per_node = 1;
    std::vector<std::string> nodes; // in the order of their ranks
    std::string token;              // random_hex(16), new for each generation; the StartSpec's environment holds it too
    std::string mpi;                // srun's --mpi; empty: the site's default
};

// srun's arguments, and the list that gives each rank its node (SLURM_HOSTFILE): block distribution would follow Slurm's
// order of nodes, not ours. Pure.
std::vector<std::string> ranks_step_command(const HeadPlan &plan, const RanksStep &step, const std::string &agent);
std::string ranks_step_hosts(const RanksStep &step);
// srun's environment: as step_environment(), with the token and the list, whose descriptor is `hosts_fd` in srun. Pure.
Environment ranks_step_environment(Environment environment, const ToolPaths &tools, const std::string &token, int hosts_fd);

class RanksSteps {
public:
    struct Calls {
        std::function<void(const std::string &)> on_line;                  // srun's own words, and those of the tasks
        std::function<void(int generation, const std::string &)> on_failed; // srun ended, although nobody killed the generation
    };

    RanksSteps(Loop &loop, const HeadPlan &plan, std::string agent, Calls calls);
    ~RanksSteps();

    Result<void> start(const RanksStep &step);
    // KillRanks was decided: from now on that srun ends is no failure. One that does not end soon is made to.
    void killed(int generation);
    void reap();         // on SIGCHLD
    void kill_all();     // at the end of the attempt: srun itself, as the ranks are dead
    bool running() const { return !steps_.empty(); }

private:
    struct Step;
    void ended(int generation, const std::string &text);

    Loop &loop_;
    const HeadPlan &plan_;
    std::string agent_;
    Calls calls_;
    std::map<int, std::unique_ptr<Step>> steps_; // by generation
    std::unique_ptr<Step> ended_;                // the last one
};

} // namespace trainctl
