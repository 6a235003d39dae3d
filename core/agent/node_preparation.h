// What happens on a node before ranks: it is looked at (node_checks, preflight), and the user's setup runs. Once for
// each agent.
#pragma once

#include "agent/messages.h"
#include "agent/node_preflight.h"
#include "agent/node_setup.h"

#include <functional>
#include <memory>
#include <optional>

namespace trainctl {

class NodePreparation {
public:
    struct Setting {
        std::string program, node;
        std::function<void()> on_change;
        std::function<void(const std::string &)> log;
    };

    NodePreparation(Loop &loop, LogWriter &logs, Setting setting, NodeConfig config);

    void start(); // again: nothing happens
    void child_ended(pid_t pid, int status);
    void kill();

    SetupState state() const { return state_; }
    const std::string &text() const { return text_; } // of a failed one
    bool bad_node() const { return bad_node_; }
    const std::string &note() const { return note_; }
    const std::optional<PreflightSpec> &looked() const { return looked_; } // at the node, in this way; nothing: not at all
    const Environment &environment() const { return environment_; } // what ranks start from

private:
    void look();
    void run_setup();
    void done(const SetupResult &result, bool bad_node);

    Loop &loop_;
    LogWriter &logs_;
    Setting setting_;
    NodeConfig config_;
    std::unique_ptr<NodePreflight> preflight_;
    std::unique_ptr<NodeSetup> setup_;
    const Instant made_ = std::chrono::steady_clock::now();
    SetupState state_ = SetupState::none;
    std::string text_, note_;
    Environment environment_;
    std::optional<PreflightSpec> looked_;
    bool bad_node_ = false;
};

} // namespace trainctl
