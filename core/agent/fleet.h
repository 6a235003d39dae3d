// The nodes of the allocation as the head knows them: which one is here, lost, ready for ranks, and whose ranks are dead
// for sure. Pure. A node's ranks live on what the head answered to its last report, for `timeout` at most: a node that
// was not heard for longer has killed them by itself.
#pragma once

#include "base/clock.h"

#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace trainctl {

struct FleetNode {
    enum class Setup { none, asked, ok, failed };

    bool connected = false;
    bool came = false;         // an agent of it was here once
    bool bad = false;          // not to be used again in this attempt
    Setup setup = Setup::none;
    int ranks_of = 0;          // the newest generation that it got ranks of
    int dead_generation = 0, doubtful_generation = 0; // its ranks are confirmed dead; can't be killed
    Instant heard, closed_at;
};

class Fleet {
public:
    struct Setting {
        Duration timeout = std::chrono::seconds{10}; // silent for so long: lost, and its ranks are dead
        Duration rejoin = std::chrono::seconds{5};   // an agent that lives is back within this
    };

    Fleet(std::vector<std::string> nodes, Setting setting, Instant now);

    FleetNode *find(const std::string &name);
    const FleetNode &at(const std::string &name) const { return nodes_.at(name); }
    const std::vector<std::string> &names() const { return names_; } // in the allocation's order

    bool silent(const std::string &name, Instant now) const;
    // Not heard for `timeout`, or its connection broke and it did not come back in time.
    bool lost(const std::string &name, Instant now) const;
    // Confirmed by its agent, or because its lease is over.
    bool ranks_dead(const std::string &name, Instant now) const;

    std::vector<std::string> connected() const;
    std::vector<std::string> absent() const;  // not here, but might come
    std::vector<std::string> ready(Instant now) const; // here, set up, without living ranks
    std::vector<std::string> to_set_up() const; // here, and nobody asked for their setup yet
    bool setting_up(Instant now) const;       // somebody's setup still runs

    void shift(Duration by);

private:
    std::vector<std::string> names_;
    std::unordered_map<std::string, FleetNode> nodes_; // looked at thousands of times a second
    Setting setting_;
};

// `count` of `ready` for the next generation: those that were members keep their places, others fill the gaps; fewer
// than `count` close up.
std::vector<std::string> choose_members(const std::vector<std::string> &members, const std::vector<std::string> &ready, std::size_t count);

} // namespace trainctl
