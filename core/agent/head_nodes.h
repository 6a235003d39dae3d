// What the head has told each node so far, whole, and what a node's report means to the machine. Pure.
#pragma once

#include "agent/head_inputs.h"
#include "agent/messages.h"

#include <map>
#include <set>

namespace trainctl {

class HeadNodes {
public:
    void ask_setup(const std::vector<std::string> &nodes);
    void ask_start(const std::string &node, StartSpec spec);
    void ask_kill(int generation);
    void ask_save(int generation, const std::string &signal);
    void ask_evidence(int generation);
    void ask_drills(const std::map<std::string, std::vector<DrillOrder>> &orders);
    void ask_bye();

    void connected(const std::string &node); // it may be another agent: it gets its configuration anew

    struct Heard {
        std::vector<HeadInput> inputs;
        std::vector<RankExit> exits; // those not heard before
        std::vector<std::string> drills; // what was done of them, not heard before
        int generation = 0;          // theirs
        bool stranger = false;       // an agent whose place another one took: it must leave
    };
    Heard take(const std::string &node, const Report &report);

    // The answer to its last report; `config` goes with the first one on a connection.
    Order order(const std::string &node, std::chrono::milliseconds lease, const NodeConfig &config);

    std::vector<std::string> names() const;
    const std::string &address(const std::string &node) { return nodes_[node].address; }
    std::int64_t dropped_lines() const; // of all nodes' output, by all agents so far
    int port(const std::string &node) { return nodes_[node].port; }

private:
    struct State {
        Order order;
        std::uint64_t heard = 0;
        std::string address, agent;
        std::set<std::string> retired; // agents
        std::int64_t dropped = 0, dropped_before = 0; // lines, by this agent and by those
        int port = 0, drilled = 0;
        bool config_sent = false;
    };
    std::map<std::string, State> nodes_;
    std::set<std::pair<int, int>> known_exits_; // generation, rank
    int killed_ = 0, saves_ = 0;
};

} // namespace trainctl
