// Who trains at each instant, and the headline that must hold of it: never two sets of ranks, and so never two writers
// of the checkpoint folder. A set is the ranks of one generation of one start of a job, on whatever nodes they live.
#pragma once

#include "simulator/loop.h"

#include <compare>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace trainctl::sim {

struct SetKey {
    int attempt = 0;
    std::uint64_t job = 0;
    int restarts = 0, generation = 0;
    auto operator<=>(const SetKey &) const = default;
};
std::string to_string(const SetKey &key);

class Ledger {
public:
    Ledger(Loop &loop, std::vector<std::string> &broken) : loop_(loop), broken_(broken) {}

    void started(const SetKey &key);  // its ranks on one node
    void ended(const SetKey &key);    // ... are dead
    void writes(const SetKey &key);   // a live rank of it, in the checkpoint folder
    void claim(const std::string &what); // something that must not be
    bool anybody() const { return !alive_.empty(); }

    std::function<bool()> run_over; // reported as ended: nothing may start
    int starts = 0;                 // of sets

private:
    void alone(const SetKey &key, const char *does);

    Loop &loop_;
    std::vector<std::string> &broken_;
    std::map<SetKey, int> alive_; // on how many nodes
    std::optional<SetKey> newest_;
};

} // namespace trainctl::sim
