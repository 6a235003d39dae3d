#include "agent/fleet.h"

#include <algorithm>
#include <utility>

namespace trainctl {

namespace {

// From the end of a lease to the last process's death by SIGKILL.
constexpr Duration kill_margin = std::chrono::milliseconds{500};

} // namespace

Fleet::Fleet(std::vector<std::string> nodes, Setting setting, Instant now) : names_(std::move(nodes)), setting_(setting) {
    for (const auto &name : names_) {
        auto &node = nodes_[name];
        node.heard = node.closed_at = now;
    }
}

FleetNode *Fleet::find(const std::string &name) {
    const auto found = nodes_.find(name);
    return found == nodes_.end() ? nullptr : &found->second;
}

bool Fleet::silent(const std::string &name, Instant now) const { return now - at(name).heard >= setting_.timeout; }

bool Fleet::lost(const std::string &name, Instant now) const {
    const auto &node = at(name);
    return silent(name, now) || (!node.connected && now - node.closed_at >= std::min(setting_.rejoin, setting_.timeout));
}

bool Fleet::ranks_dead(const std::string &name, Instant now) const {
    const auto &node = at(name);
    return node.dead_generation >= node.ranks_of || now - node.heard >= setting_.timeout + kill_margin;
}

std::vector<std::string> Fleet::connected() const {
    std::vector<std::string> out;
    for (const auto &name : names_)
        if (at(name).connected && !at(name).bad)
            out.push_back(name);
    return out;
}

std::vector<std::string> Fleet::absent() const {
    std::vector<std::string> out;
    for (const auto &name : names_)
        if (!at(name).connected && !at(name).bad)
            out.push_back(name);
    return out;
}

std::vector<std::string> Fleet::ready(Instant now) const {
    std::vector<std::string> out;
    for (const auto &name : connected())
        if (at(name).setup == FleetNode::Setup::ok && !silent(name, now) && ranks_dead(name, now))
            out.push_back(name);
    return out;
}

std::vector<std::string> Fleet::to_set_up() const {
    std::vector<std::string> out;
    for (const auto &name : names_)
        if (const auto &node = at(name); node.connected && !node.bad && node.setup == FleetNode::Setup::none)
            out.push_back(name);
    return out;
}

bool Fleet::setting_up(Instant now) const {
    return std::any_of(names_.begin(), names_.end(), [&](const auto &name) {
        const auto &node = at(name);
        return node.connected && !node.bad && node.setup == FleetNode::Setup::asked && !silent(name, now);
    });
}

void Fleet::shift(Duration by) {
    for (auto &[name, node] : nodes_) {
        node.heard += by;
        node.closed_at += by;
    }
}

std::vector<std::string> choose_members(const std::vector<std::string> &members, const std::vector<std::string> &ready, std::size_t count) {
    const auto among = [](const auto &list, const std::string &name) { return std::find(list.begin(), list.end(), name) != list.end(); };
    std::vector<std::string> fresh;
    for (const auto &name : ready)
        if (!among(members, name))
            fresh.push_back(name);
    std::vector<std::string> out;
    auto next = fresh.begin();
    for (const auto &name : members)
        if (among(ready, name))
            out.push_back(name);
        else if (next != fresh.end())
            out.push_back(*next++);
    out.insert(out.end(), next, fresh.end());
    out.resize(std::min(count, out.size()));
    return out;
}

} // namespace trainctl
