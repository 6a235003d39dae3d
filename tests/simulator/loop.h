// Virtual time and actors: each actor is a fiber that runs ordinary blocking code and gives way at every effect.
// One thread, one order of events: the same seed replays the same schedule exactly.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

namespace trainctl::sim {

struct Killed {}; // thrown inside an actor that dies, so that its stack unwinds

class Loop {
public:
    explicit Loop(std::uint64_t seed);
    ~Loop();
    Loop(const Loop &) = delete;
    Loop &operator=(const Loop &) = delete;

    using ActorId = std::size_t;
    ActorId spawn(std::string name, std::function<void()> body);
    // A plain function at a time; runs outside of actors.
    void at(Instant when, std::function<void()> what);
    void run_until(Instant end);

    // In an actor: gives way for that long.
    void sleep(Duration duration);
    // ... until then, or until somebody wakes it.
    void wait_until(Instant when);
    void wake(ActorId id);
    // The actor dies at once (its own death unwinds from here).
    void kill(ActorId id);
    void kill_all();
    // Counts an effect of the running actor and lets it die there if that was planned.
    void effect();
    void plan_death(ActorId id, int effects_from_now);
    bool alive(ActorId id) const;
    ActorId current() const { return current_; }

    Instant now() const { return now_; }
    std::mt19937_64 &random() { return random_; }
    bool chance(double probability);
    Duration between(Duration least, Duration most);

    std::uint64_t effects = 0; // of all actors

private:
    struct Actor;
    struct Entry {
        Instant when;
        std::uint64_t sequence;
        ActorId actor;                 // or npos
        std::uint64_t ticket;          // of the actor's wait: one that was woken before is not resumed again
        std::function<void()> what;
        bool operator>(const Entry &other) const {
            return when != other.when ? when > other.when : sequence > other.sequence;
        }
    };
    static constexpr ActorId npos = static_cast<ActorId>(-1);

    void resume(ActorId id);
    void yield();
    void resume_at(Instant when, ActorId id);

    Instant now_;
    std::uint64_t sequence_ = 0;
    std::mt19937_64 random_;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
    std::vector<std::unique_ptr<Actor>> actors_;
    ActorId current_ = npos;
};

} // namespace trainctl::sim
