// The head of an attempt: the real HeadMachine and HeadNodes, and around them what head.cpp does with sockets, threads and
// srun, in virtual time. It may die at any action.
#pragma once

#include "agent/head_machine.h"
#include "agent/head_nodes.h"
#include "recovery/attempt.h"
#include "simulator/agents.h"

#include <deque>

namespace trainctl::sim {

// A thread of the head's own: takes one thing after the other, and may hang with the file system.
class Worker {
public:
    Worker(Loop &loop, std::string name);
    ~Worker();
    void add(std::function<void()> what);
    bool idle() const { return queue_->tasks.empty(); }

private:
    struct Queue {
        std::deque<std::function<void()>> tasks; // the first one is being done
    };
    Loop &loop_;
    std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
    Loop::ActorId actor_;
};

struct HeadSetup {
    Agents &agents;
    Checkpoints &checkpoints;
    HeadConfig config;
    NodeConfig nodes;
    int keep = 0;
    // A choice was made: looked at from when on, and what came of it.
    std::function<void(Instant, const std::vector<int> &, const std::optional<CheckpointSeen> &)> chosen;
    std::function<Failure(const FailureFacts &)> judge; // empty: nobody does
    std::function<void(const std::string &)> note;
};

class HeadShell final : public HeadPort, public std::enable_shared_from_this<HeadShell> {
public:
    HeadShell(HeadSetup setup, JobStart start, Host &host, TrainHooks hooks);
    ~HeadShell() override;

    // In the head's own actor, until all is over.
    Outcome run(const std::optional<CheckpointSeen> &resume_from);
    void signal(const HeadInput &input); // TermSignal, EarlySignal
    void ring();                         // the doorbell: look at the wishes

    Host &host() override { return host_; }
    void welcome(const std::string &node, const std::shared_ptr<Wire> &wire, const std::shared_ptr<Agent> &agent) override;
    void hear(const std::string &node, const std::shared_ptr<Wire> &wire, Report report) override;

    const HeadMachine &machine() const { return *machine_; }

private:
    void post(std::function<void()> what);
    void give(const HeadInput &input);
    void act(const HeadAction &action);
    void start_generation(const StartGeneration &action);
    void start_agents(const std::vector<std::string> &nodes);
    void choose(const FailureFacts &facts);
    void write_beat();
    void poll_checkpoint();
    void take_wishes(EndWish end, bool save);
    void take_progress(const std::string &node, const Report &report);
    void send(const std::string &node);
    void push();
    void note(const std::string &text) { setup_.note(text); }
    Instant now() const { return loop_.now(); }

    HeadSetup setup_;
    Loop &loop_;
    const JobStart start_;
    Host &host_;
    TrainHooks hooks_;
    HostFiles files_;
    std::optional<HeadMachine> machine_;
    HeadNodes nodes_;
    std::optional<CheckpointSeen> resume_from_;
    std::string in_use_; // not to be deleted
    std::map<std::string, std::pair<std::shared_ptr<Wire>, std::weak_ptr<Agent>>> guests_;
    std::deque<std::function<void()>> inbox_;
    std::optional<Loop::ActorId> actor_;
    std::optional<Outcome> outcome_;
    Worker beats_, looks_;
    Instant polled_;
    std::uint64_t beat_ = 0;
    int spins_ = 0;
    bool polling_ = false, first_speaks_ = false;
};

} // namespace trainctl::sim
