#include "agent/head_nodes.h"

#include <algorithm>
#include <utility>

namespace trainctl {

void HeadNodes::ask_setup(const std::vector<std::string> &nodes) {
    for (const auto &node : nodes)
        nodes_[node].order.setup = true;
}

void HeadNodes::ask_start(const std::string &node, StartSpec spec) { nodes_[node].order.start = std::move(spec); }

void HeadNodes::ask_kill(int generation) {
    killed_ = std::max(killed_, generation);
    for (auto &[name, node] : nodes_) {
        node.order.kill_generation = killed_;
        node.order.start.reset();
    }
}

void HeadNodes::ask_save(int generation, const std::string &signal) {
    ++saves_;
    for (auto &[name, node] : nodes_) {
        node.order.save_generation = generation;
        node.order.save_number = saves_;
        node.order.save_signal = signal;
    }
}

void HeadNodes::ask_evidence(int generation) {
    for (auto &[name, node] : nodes_)
        node.order.evidence_generation = generation;
}

void HeadNodes::ask_drills(const std::map<std::string, std::vector<DrillOrder>> &orders) {
    for (const auto &[node, all] : orders)
        nodes_[node].order.drills = all;
}

void HeadNodes::ask_bye() {
    for (auto &[name, node] : nodes_)
        node.order.bye = true;
}

void HeadNodes::connected(const std::string &node) {
    auto &state = nodes_[node];
    state.config_sent = false;
    state.order.kill_generation = killed_;
}

HeadNodes::Heard HeadNodes::take(const std::string &node, const Report &report) {
    Heard out;
    auto &state = nodes_[node];
    if (state.retired.count(report.agent) != 0) {
        out.stranger = true;
        return out;
    }
    if (!state.agent.empty() && state.agent != report.agent) {
        state.retired.insert(state.agent);
        state.dropped_before += std::exchange(state.dropped, 0);
        state.config_sent = false;
        out.inputs.emplace_back(NodeRenewed{node});
    }
    state.agent = report.agent;
    state.heard = report.sequence;
    state.address = report.address;
    state.port = report.free_port;
    state.dropped = report.dropped_lines;
    if (report.generation > state.order.seen_generation) {
        state.order.seen_generation = report.generation;
        state.order.seen_exits = 0;
    }
    out.generation = report.generation;
    out.inputs.emplace_back(NodeHeard{node});
    if (report.setup == SetupState::ok || report.setup == SetupState::failed)
        out.inputs.emplace_back(SetupDone{node, report.setup == SetupState::ok, report.setup_text, report.bad_node});
    if (report.term)
        out.inputs.emplace_back(NodeTerm{node});
    if (report.evidence_generation > 0)
        out.inputs.emplace_back(EvidenceDone{node, report.evidence_generation, report.evidence});
    if (report.sight.generation > 0) { // before that its ranks are dead: then the failure is judged
        out.inputs.emplace_back(NodeSaw{report.sight});
        std::get<NodeSaw>(out.inputs.back()).sight.node = node;
    }
    for (const auto &exit : report.exits) {
        if (known_exits_.insert({report.generation, exit.rank}).second) {
            out.exits.push_back(exit);
            ++state.order.seen_exits;
        }
        out.inputs.emplace_back(RankExited{report.generation, exit});
    }
    for (const auto &done : report.drills)
        if (done.number > state.drilled) {
            state.drilled = done.number;
            out.drills.push_back(done.text);
        }
    if (state.order.start && report.generation >= state.order.start->generation)
        state.order.start.reset();
    if (report.dead_generation > 0)
        out.inputs.emplace_back(NodeRanksDead{node, report.dead_generation, true});
    if (report.doubtful_generation > 0)
        out.inputs.emplace_back(NodeRanksDead{node, report.doubtful_generation, false});
    return out;
}

Order HeadNodes::order(const std::string &node, std::chrono::milliseconds lease, const NodeConfig &config) {
    auto &state = nodes_[node];
    Order order = state.order;
    order.answers = state.heard;
    order.lease_ms = lease.count();
    if (!std::exchange(state.config_sent, true))
        order.config = config;
    return order;
}

std::int64_t HeadNodes::dropped_lines() const {
    std::int64_t sum = 0;
    for (const auto &[name, node] : nodes_)
        sum += node.dropped + node.dropped_before;
    return sum;
}

std::vector<std::string> HeadNodes::names() const {
    std::vector<std::string> out;
    for (const auto &[name, node] : nodes_)
        out.push_back(name);
    return out;
}

} // namespace trainctl
