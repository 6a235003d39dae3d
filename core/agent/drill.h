// Faults that the job does to itself, for `trainctl drill`: the head says which of its nodes does what, an agent does it to
// the processes of its node. What they are is in run/drill.h.
#pragma once

#include "agent/messages.h"
#include "agent/processes.h"
#include "base/clock.h"
#include "checkpoint/checkpoint.h"
#include "run/drill.h"

#include <functional>
#include <map>
#include <optional>

namespace trainctl {

// The head's side: looks whether a wish still fits, has a checkpoint cut where that is wanted, and then gives the orders.
class HeadDrills {
public:
    struct Calls {
        std::function<void(const std::string &event, Json data)> note;
        std::function<void(const std::map<std::string, std::vector<DrillOrder>> &)> order;
        // Has the newest complete checkpoint cut beside the head's loop, and `then` called in it.
        std::function<void(std::function<void(const Result<std::string> &cut)> then)> cut;
    };
    explicit HeadDrills(Calls calls) : calls_(std::move(calls)) {}

    // `generation`: that which trains in this attempt; 0: none.
    void take(const DrillWish &wish, int attempt, int generation);
    void done(const std::vector<std::string> &texts);
    bool hurt(int generation) const { return generation > 0 && hurt_ == generation; } // what befell it is no node's fault

private:
    void begin(const DrillWish &wish);
    void refuse(const DrillWish &wish, const std::string &why) { calls_.note("drill_refused", Json{{"id", wish.id}, {"text", why}}); }

    Calls calls_;
    std::string id_;  // of the newest one
    int orders_ = 0;  // so far
    int hurt_ = 0;    // the newest generation that a drill was for
};

// What each node is told of a wish; `first_number` is that of its first order. A checkpoint has been cut by then: what is
// left of that drill is the crash. Pure.
std::map<std::string, std::vector<DrillOrder>> drill_orders(const DrillWish &wish, int first_number);

// Makes the largest file of a checkpoint shorter by half. What it did, for people. Not pure.
Result<std::string> cut_checkpoint(const std::optional<CheckpointSeen> &newest);

// The agent's side: each order once, while its generation's ranks live. Not pure.
class NodeDrills {
public:
    // True where something was done, or could not be: done() says what, for people.
    bool take(const std::vector<DrillOrder> &orders, const Mark &ranks, Instant now);
    const std::vector<DrillDone> &done() const { return done_; }
    // Nothing goes to the head or comes from it.
    bool cut_off(Instant now) const { return cut_until_ && now >= cut_from_ && now < *cut_until_; }

private:
    Result<std::string> inflict(const DrillOrder &order, const Mark &ranks, Instant now);

    std::vector<DrillDone> done_;
    Instant cut_from_;
    std::optional<Instant> cut_until_;
    int number_ = 0; // of the newest order that was carried out
};

} // namespace trainctl
