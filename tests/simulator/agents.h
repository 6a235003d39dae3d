// Node agents in virtual time, by the rules of core/agent/node.cpp: what an order means, what a report says, the lease
// that comes with each answer, and what an agent does that hears nothing any more.
#pragma once

#include "agent/abandon.h"
#include "agent/lease.h"
#include "agent/messages.h"
#include "simulator/network.h"
#include "simulator/ranks.h"
#include "simulator/slurm.h"

#include <deque>

namespace trainctl::sim {

class Agent;

// Where a head listens, as head.json says.
class HeadPort {
public:
    virtual ~HeadPort() = default;
    virtual Host &host() = 0;
    virtual void welcome(const std::string &node, const std::shared_ptr<Wire> &wire, const std::shared_ptr<Agent> &agent) = 0;
    virtual void hear(const std::string &node, const std::shared_ptr<Wire> &wire, Report report) = 0;
};

struct JobStart { // one start of a job
    AttemptNo attempt;
    JobId job;
    int restarts = 0;
    bool operator==(const JobStart &) const = default;
};

// All agents of a schedule, and what they need.
struct Agents {
    Loop &loop;
    Disk &disk;
    Slurm &slurm;
    Trade &trade;
    RunPaths paths;
    double setup_fails = 0;
    Duration setup_least{}, setup_most{};
    std::map<int, std::weak_ptr<HeadPort>> heads = {}; // by attempt: the newest head.json
    std::map<SetKey, std::shared_ptr<Training>> trainings = {};
    std::vector<std::shared_ptr<Agent>> all = {};
    std::uint64_t started = 0, abandoned = 0;

    void start(const JobStart &start, Host &host);
    // Those of that job (or any), on that host.
    std::vector<std::shared_ptr<Agent>> on(const Host &host, const JobStart *start = nullptr) const;
    void node_died(const Host &host);
};

class Agent : public std::enable_shared_from_this<Agent> {
public:
    Agent(Agents &world, JobStart start, Host &host);

    void begin();
    void take(const Order &order);
    void term();  // Slurm's SIGTERM, at its ranks too
    void die();   // SIGKILL; the guard then kills the ranks
    void lost();  // with the node, in an instant

    bool alive() const { return alive_; }
    const JobStart &job() const { return start_; }
    Host &host() const { return host_; }
    const std::shared_ptr<Ranks> &ranks() const { return ranks_; }
    const std::shared_ptr<Wire> &wire() const { return wire_; }

private:
    void connect();
    void tick();
    void report();
    void configure(const NodeConfig &config);
    void prepare();
    void start_generation(const StartSpec &spec);
    void kill_up_to(int generation);
    void sweep(int generation);
    void changed();
    void collect_evidence();
    void look_for_head();
    void abandon();
    void end();
    Duration heartbeat() const { return config_ ? Duration{std::chrono::milliseconds{config_->heartbeat_ms}} : std::chrono::seconds{1}; }
    Duration leave_limit() const { return std::chrono::milliseconds{config_ ? config_->leave_ms : 0}; }
    void after(Duration delay, void (Agent::*what)());

    Agents &world_;
    const JobStart start_;
    Host &host_;
    std::string id_;
    bool alive_ = true, ending_ = false;
    std::shared_ptr<Wire> wire_;
    std::weak_ptr<HeadPort> head_;
    bool head_known_ = false;
    std::optional<NodeConfig> config_;
    std::shared_ptr<Ranks> ranks_;
    std::optional<Loop::ActorId> worker_;
    std::deque<std::pair<std::uint64_t, Instant>> sent_;
    SetupState setup_ = SetupState::none;
    Lease lease_;
    Instant started_, last_report_, granted_until_;
    SilentHead silent_head_;
    std::uint64_t sequence_ = 0;
    int current_ = 0, killed_ = 0, dead_ = 0, saved_ = 0, evidence_asked_ = 0, evidence_done_ = 0, reported_dead_ = 0;
    std::size_t seen_exits_ = 0, reported_exits_ = 0;
    bool term_ = false, abandoned_ = false, report_planned_ = false;
};

} // namespace trainctl::sim
