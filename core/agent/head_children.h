// The processes that a head starts: the agents' sruns, of which there may be several at a time, a generation's own srun
// (launch kind srun), and the user's report of a bad node.
#pragma once

#include "agent/head.h"
#include "agent/head_step.h"
#include "agent/node_report.h"
#include "agent/srun_steps.h"

#include <memory>

namespace trainctl {

class HeadChildren {
public:
    struct Calls {
        std::function<void(const std::string &)> log;
        std::function<void(const std::string &)> on_agents_end; // one of their sruns ended, and what it said
        std::function<void(int generation, const std::string &)> on_ranks_failed; // the generation's srun did
        std::function<void(const MakeLink &)> on_agent; // one speaks through its srun
    };

    HeadChildren(Loop &loop, LogWriter &logs, const HeadPlan &plan, Calls calls); // `plan` must outlive it

    Result<void> start_agents(const std::vector<std::string> &nodes);
    // Theirs are gone. For few nodes each gets an srun, so that a dead one holds nobody up.
    void start_agents_again(const std::vector<std::string> &nodes);
    bool agents_run() const;
    // All ranks are dead and the agents were told to leave: `done` is called when their sruns ended, or were made to. To be
    // called again when one has left. An srun that lost a node never ends by itself, so that nobody waits for it alone.
    void end_agents(bool agents_here, const std::function<void()> &done);

    RanksSteps &ranks() { return ranks_; }
    NodeReporter &reporter() { return reporter_; }
    void reap(); // on SIGCHLD

private:
    Loop &loop_;
    const HeadPlan &plan_;
    Calls calls_;
    std::string agent_;
    Loop::Timer end_timer_ = 0;
    std::vector<std::unique_ptr<AgentsStep>> steps_;
    RanksSteps ranks_;
    NodeReporter reporter_;
};

} // namespace trainctl
