// A head's machine with nodes that a test moves by hand, in virtual time.
#pragma once

#include "agent/head_machine.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <random>

namespace trainctl {

using namespace std::chrono_literals;

struct Rig {
    explicit Rig(HeadConfig config = standard()) : nodes(config.nodes), machine(std::move(config), now) {}

    static HeadConfig standard() {
        HeadConfig config;
        config.nodes = {"n1", "n2"};
        config.needed = 2;
        config.ranks_per_node = 2;
        config.in_place = false;
        return config;
    }
    static HeadConfig saving() {
        HeadConfig config = standard();
        config.save_signal = "USR1";
        return config;
    }

    void give(const HeadInput &input) {
        for (auto &action : machine.step(input, now)) {
            if (const auto *end = std::get_if<Finish>(&action))
                outcome = end->outcome;
            if (std::holds_alternative<WriteBeat>(action) && beats_work)
                beats_due = true;
            actions.push_back(std::move(action));
        }
        if (std::exchange(beats_due, false))
            give(BeatWritten{now});
    }
    // Time goes on in ticks, with all nodes heard.
    void pass(Duration time) {
        const Instant end = now + time;
        while (now < end) {
            now += std::min<Duration>(500ms, end - now);
            for (const auto &node : nodes)
                if (silent.count(node) == 0)
                    give(NodeHeard{node});
            give(Tick{});
        }
    }
    void train() {
        for (const auto &node : nodes)
            give(NodeConnected{node});
        for (const auto &node : nodes)
            give(SetupDone{node, true, ""});
        REQUIRE(machine.phase() == HeadPhase::training);
        actions.clear();
    }
    void exit(int rank, int code, int signal = 0, double at = 5) {
        RankExit out;
        out.rank = rank;
        out.node = rank < 2 ? "n1" : "n2";
        out.exit_code = code;
        out.signal = signal;
        out.at_s = at;
        give(RankExited{machine.generation(), out});
    }
    void die(const std::string &node, bool confirmed = true) { give(NodeRanksDead{node, machine.generation(), confirmed}); }
    void all_dead() {
        for (const auto &node : nodes)
            die(node);
    }
    template <class T> std::size_t count() const {
        return static_cast<std::size_t>(
            std::count_if(actions.begin(), actions.end(), [](const auto &a) { return std::holds_alternative<T>(a); }));
    }
    OutcomeKind kind() const {
        REQUIRE(outcome);
        return outcome->kind;
    }

    Instant now = Instant{} + 1000s;
    std::vector<std::string> nodes;
    std::set<std::string> silent;
    bool beats_work = true, beats_due = false;
    HeadMachine machine;
    std::vector<HeadAction> actions;
    std::optional<Outcome> outcome;
};

inline HeadConfig in_place() {
    HeadConfig config = Rig::standard();
    config.in_place = true;
    return config;
}

inline HeadConfig with_spare() {
    HeadConfig config = in_place();
    config.nodes = {"n1", "n2", "n3"};
    return config;
}

inline CheckpointSeen checkpoint(std::int64_t step) {
    CheckpointSeen out;
    out.path = "step-" + std::to_string(step);
    out.step = step;
    out.complete = true;
    return out;
}

} // namespace trainctl
