// Tells the site about a bad node: runs the user's health.report_node on the head's node, once for each node and
// attempt. Never blocks; what it says goes to the agent's log.
#pragma once

#include "agent/log_writer.h"
#include "agent/loop.h"
#include "agent/rank_output.h"
#include "base/fd.h"
#include "base/process.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace trainctl {

struct NodeReport {
    std::string node, evidence, run;
    int attempt = 0;
};

class NodeReporter {
public:
    struct Setting {
        std::string command;     // health.report_node; empty: nothing is ever run
        std::string directory, log_path;
        Environment environment; // it starts from
        Duration limit = std::chrono::seconds{60};
    };

    NodeReporter(Loop &loop, LogWriter &logs, Setting setting);
    ~NodeReporter(); // what still runs is killed
    NodeReporter(const NodeReporter &) = delete;
    NodeReporter &operator=(const NodeReporter &) = delete;

    // False where that node was reported before, or there is no command.
    bool report(const NodeReport &report);
    void child_ended(pid_t pid, int status); // any child of ours
    std::vector<pid_t> pids() const;         // whom to wait for: those that run, and those killed but not dead yet
    bool running() const { return !calls_.empty(); }
    void kill();

private:
    struct Call;
    void read_output(Call &call);
    void say(const Call &call, const std::string &text);
    void too_late(pid_t pid);
    void ended(pid_t pid);

    Loop &loop_;
    LogWriter &logs_;
    Setting setting_;
    std::set<std::pair<std::string, int>> told_;
    std::map<pid_t, std::unique_ptr<Call>> calls_;
    std::set<pid_t> left_behind_; // killed, not dead yet
};

} // namespace trainctl
