// The user's setup: a shell text that runs once, with its output to the node's log; its environment afterwards is
// what ranks start from.
#pragma once

#include "agent/log_writer.h"
#include "agent/loop.h"
#include "agent/rank_output.h"
#include "agent/spawn.h"
#include "base/process.h"

#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>

namespace trainctl {

struct SetupResult {
    bool ok = false;
    std::string text;        // of a failed one: how it ended, and its last lines
    Environment environment; // of a good one
};

class NodeSetup {
public:
    struct Setting {
        std::string program, script, directory, log_path;
        Environment environment; // it starts from
        std::function<void(const SetupResult &)> on_done;
    };

    NodeSetup(Loop &loop, LogWriter &logs, Setting setting);
    ~NodeSetup();

    Result<void> start();
    void child_ended(pid_t pid, int status); // any child of the agent
    void kill();
    bool running() const { return pid_ > 0; }

private:
    void read_output();

    Loop &loop_;
    LogWriter &logs_;
    Setting setting_;
    pid_t pid_ = 0;
    Fd output_, captured_;
    LineSplitter splitter_;
    LastLines last_;
};

// What `trainctl-agent environment` prints: variables ended by NULs; without those that belong to a shell alone.
Environment parse_environment(std::string_view text);

} // namespace trainctl
