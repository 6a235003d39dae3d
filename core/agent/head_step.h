// The agents' step: one srun for the life of the attempt, one agent on each node.
#pragma once

#include "agent/head.h"
#include "agent/srun_wire.h"

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

// srun's arguments: one task on each of the plan's nodes, with all that the job has there. Pure.
std::vector<std::string> step_command(const HeadPlan &plan, const std::string &agent);
// The job's environment without what would cut the step down or set srun's options. Pure.
Environment step_environment(Environment environment, const ToolPaths &tools);

class AgentsStep {
public:
    struct Calls {
        std::function<void(const std::string &)> on_line; // srun's own words, and those of the agents
        std::function<void(const std::string &)> on_end;  // how it ended, with the last lines
        std::function<void(const MakeLink &)> on_open = {}; // an agent speaks through srun's streams; not set: they are no wire
    };

    AgentsStep(Loop &loop, Calls calls);
    ~AgentsStep();

    // `fds`: what srun gets besides its output (ours, its).
    Result<void> start(const std::vector<std::string> &command, const Environment &environment,
                       const std::vector<std::pair<int, int>> &fds = {});
    void child_ended(pid_t pid, int status);
    void terminate(); // srun ends its tasks
    void kill();
    bool running() const { return pid_ > 0; }
    pid_t pid() const { return pid_; } // 0: not running

private:
    void read_output();
    void take_line(const std::string &line);

    Loop &loop_;
    Calls calls_;
    std::shared_ptr<SrunWire> wire_;
    pid_t pid_ = 0;
    Fd output_;
    std::string partial_;
    std::vector<std::string> last_;
};

} // namespace trainctl
