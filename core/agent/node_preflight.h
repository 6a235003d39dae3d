// The preflight inside the node agent: starts `trainctl-agent preflight`, then the user's check, each with a limit.
// What does not die is left behind, and the node is bad. Never blocks.
#pragma once

#include "agent/log_writer.h"
#include "agent/loop.h"
#include "agent/preflight.h"
#include "agent/rank_output.h"
#include "base/fd.h"

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

class NodePreflight {
public:
    struct Setting {
        std::string program; // trainctl-agent itself
        PreflightSpec spec;
        std::function<void(const PreflightResult &)> on_done; // once; the NodePreflight may be destroyed in it
        Duration quick_limit = std::chrono::seconds{9};  // with the time to die: 10 s in all
        Duration check_limit = std::chrono::seconds{60}; // of the user's check
    };

    NodePreflight(Loop &loop, LogWriter &logs, Setting setting);
    ~NodePreflight();
    NodePreflight(const NodePreflight &) = delete;
    NodePreflight &operator=(const NodePreflight &) = delete;

    Result<void> start();                    // an error: on_done is not called
    void child_ended(pid_t pid, int status); // any child of the agent
    void kill();                             // and on_done is not called
    bool running() const { return running_; }

private:
    enum class Phase { quick, check };
    Result<void> start_phase(Phase phase);
    void read_output();
    void take_line(const std::string &line);
    void too_late();
    void abandon();
    void phase_ended(const std::string &problem);
    void done();
    void log(const std::string &line);
    void stop_watching();

    Loop &loop_;
    LogWriter &logs_;
    Setting setting_;
    Phase phase_ = Phase::quick;
    pid_t pid_ = 0;
    bool running_ = false, late_ = false, ended_well_ = false;
    Fd output_;
    LineSplitter splitter_;
    LastLines last_;
    Loop::Timer timer_ = 0;
    std::string doing_;
    std::vector<std::string> bad_, shared_, warnings_, fine_;
    std::vector<PreflightLine> faults_;
};

} // namespace trainctl
