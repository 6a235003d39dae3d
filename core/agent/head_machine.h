// What the head does when: the states of an attempt from the agents' first word to the last rank's death. Pure:
// inputs and the time go in, actions come out. Time is monotonic; step() must see a Tick by wake_at() at the
// latest, and takes a longer gap (a suspended job) as time that did not pass.
#pragma once

#include "agent/head.h"
#include "agent/lease.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace trainctl {

// Inputs. Duplicates and late ones are normal: what is known already changes nothing.
struct NodeConnected { std::string node; };
struct NodeClosed { std::string node; };             // its connection broke; it may come back
struct NodeHeard { std::string node; };              // any message of it
struct SetupDone { std::string node; bool ok = true; std::string text; };
struct RankExited { int generation = 0; RankExit exit; };
struct NodeRanksDead { std::string node; int generation = 0; bool confirmed = true; };
struct NodeTerm { std::string node; };               // the agent there got SIGTERM
struct ProgressSeen { std::optional<std::int64_t> step; std::optional<double> loss, rate; };
struct CheckpointPolled { std::optional<CheckpointSeen> newest; };
struct StepEnded { std::string text; };              // srun of the agents' step ended, and what it said
struct EarlySignal {};
struct TermSignal {};
struct StopWish {};
struct BeatWritten { Instant started; };
struct BeatFailed { std::string why; };
struct Superseded {};
struct Tick {};
using HeadInput = std::variant<NodeConnected, NodeClosed, NodeHeard, SetupDone, RankExited, NodeRanksDead, NodeTerm,
                               ProgressSeen, CheckpointPolled, StepEnded, EarlySignal, TermSignal, StopWish, BeatWritten,
                               BeatFailed, Superseded, Tick>;

// Actions.
struct StartSetup { std::vector<std::string> nodes; };
struct StartGeneration { int generation = 0; std::vector<std::string> nodes; }; // nodes in the order of ranks
struct KillRanks { int generation = 0; };
struct SendSave { int generation = 0; std::string signal; };
struct PollCheckpoint {};
struct WriteBeat {};
struct Finish { Outcome outcome; };
using HeadAction = std::variant<StartSetup, StartGeneration, KillRanks, SendSave, PollCheckpoint, WriteBeat, Finish>;

struct HeadConfig {
    std::vector<std::string> nodes;
    int needed = 1;         // nodes with ranks; those beyond are spares
    int ranks_per_node = 1;
    Duration lease = std::chrono::seconds{30}, heartbeat = std::chrono::seconds{5}, save_time = std::chrono::seconds{60};
    std::string save_signal;
    std::optional<std::int64_t> total_steps;
    std::optional<Instant> limit; // the job's time limit
    std::optional<Instant> lease_from; // since when the attempt is known to be ours; nothing: now
};

enum class HeadPhase { starting, setup, training, saving, killing, ended };
const char *to_string(HeadPhase phase); // as in ProgressFile::phase

class HeadMachine {
public:
    HeadMachine(HeadConfig config, Instant now);

    std::vector<HeadAction> step(const HeadInput &input, Instant now);
    std::optional<Instant> wake_at() const; // nothing once ended

    HeadPhase phase() const { return phase_; }
    int generation() const { return generation_; }
    const std::vector<std::string> &members() const { return members_; }
    const Lease &lease() const { return lease_; }
    const ProgressSeen &progress() const { return progress_; }
    const std::optional<CheckpointSeen> &checkpoint() const { return checkpoint_; }

private:
    struct NodeState {
        bool connected = false, lost = false, setup_ok = false;
        int dead_generation = 0, doubtful_generation = 0; // ranks confirmed dead; not to be killed
        Instant heard, closed_at;
    };
    using Actions = std::vector<HeadAction>;

    void take(const HeadInput &input, Instant now, Actions &out);
    void take_exit(const RankExited &input, Instant now, Actions &out);
    void take_term(Instant now, Actions &out);
    void take_checkpoint(const CheckpointPolled &input, Instant now, Actions &out);
    void wish_end(OutcomeKind kind, Instant now, Actions &out);
    void begin_save(OutcomeKind kind, Instant now, Actions &out);
    void send_save(Actions &out);
    void begin_kill(OutcomeKind kind, std::string text, Instant now, Actions &out);
    void advance(Instant now, Actions &out);
    void advance_starting(Instant now, Actions &out);
    void advance_training(Instant now, Actions &out);
    void advance_saving(Instant now, Actions &out);
    void advance_killing(Instant now, Actions &out);
    void find_lost(Instant now, Actions &out);
    void beat(Instant now, Actions &out);
    void shift(Duration by);
    void note_signal(const std::string &name, Instant now);
    bool is_member(const std::string &node) const;
    bool done_training() const;
    bool all_exited() const;
    Outcome outcome(bool dead, Instant now) const;

    HeadConfig config_;
    HeadPhase phase_ = HeadPhase::starting;
    std::map<std::string, NodeState> nodes_;
    std::vector<std::string> members_;
    int generation_ = 0;
    std::map<int, RankExit> exits_; // of this generation, by rank
    std::optional<RankExit> first_; // the failure that came first by its own time
    bool exit_93_ = false, node_term_ = false, beat_pending_ = false, save_sent_ = false, save_baseline_ = false;
    OutcomeKind kind_ = OutcomeKind::rank_failed;
    std::string text_, beat_error_;
    std::vector<std::string> signals_;
    std::set<std::string> suspects_;
    ProgressSeen progress_;
    std::optional<CheckpointSeen> checkpoint_, baseline_;
    Lease lease_;
    JumpWatch jumps_;
    Instant started_, phase_since_, deadline_, beat_due_, setup_since_, training_since_, training_until_;
    std::optional<Instant> term_verdict_at_, baseline_by_;
};

} // namespace trainctl
