// What the head does when: the states of an attempt from the agents' first word to the last rank's death, over any number
// of generations. Pure: inputs and the time go in, actions come out. Time is monotonic; step() must see a Tick by
// wake_at() at the latest, and takes a longer gap (a suspended job) as time that did not pass.
#pragma once

#include "agent/fleet.h"
#include "agent/head_inputs.h"
#include "agent/lease.h"

#include <map>
#include <set>

namespace trainctl {

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
    const std::string &last_failure() const { return last_failure_; } // of an earlier generation
    bool save_awaited() const; // one was asked for, and it is not there yet

private:
    using Actions = std::vector<HeadAction>;

    // Of one generation; a new one begins with a fresh one.
    struct Current {
        std::map<int, RankExit> exits;  // by rank
        std::map<std::string, Sight> sights; // by node
        std::set<std::string> lost;     // nodes
        bool all_dead = true;           // its ranks, once it was concluded
        std::optional<RankExit> first;  // the failure that came first by its own time
        bool exit_93 = false;
        std::optional<Instant> stepped; // when its newest step was heard of
        OutcomeKind kind = OutcomeKind::rank_failed; // why it ends
        std::string text;
        std::optional<Instant> term_verdict_at; // a rank died of SIGTERM: does the whole job end?
        // A save that was asked for.
        bool wishes_known = true;       // a TERM may be a `cancel`
        bool save_only = false;         // and then training goes on
        bool save_was_asked = false;    // ever: ranks may end with a slow save long after another checkpoint was taken for it
        bool save_sent = false, baseline_known = false;
        std::optional<CheckpointSeen> baseline; // the newest before it
        std::optional<Instant> baseline_by, saved_since; // send it then at the latest; when it was sent
        std::optional<Instant> save_over; // training goes on after it: from then on an exit is a failure again
        std::string save_text;          // what became of it
        // A hang: what the agents see is collected before it is ended.
        std::optional<Instant> evidence_by;
        std::string stall_text;
        std::map<std::string, std::string> evidence;
    };

    // head_machine.cpp: what an input says.
    void take(const HeadInput &input, Instant now, Actions &out);
    void take_setup(const SetupDone &input, Instant now, Actions &out);
    void take_exit(const RankExited &input, Instant now, Actions &out);
    void take_term(Instant now, Actions &out);
    void take_progress(const ProgressSeen &input, Instant now, Actions &out);
    void wish_end(OutcomeKind kind, Instant now, Actions &out);
    void begin_kill(OutcomeKind kind, std::string text, Instant now, Actions &out);
    void note_signal(const std::string &name, Instant now);
    void shift(Duration by);

    // head_machine_saving.cpp: saves that were asked for.
    void take_checkpoint(const CheckpointPolled &input, Instant now, Actions &out);
    void wish_save(Instant now, Actions &out);
    void begin_save(OutcomeKind kind, Instant now, Actions &out);
    void send_save_when_known(Instant now, Actions &out);
    void send_save(Instant now, Actions &out);
    void find_save(const std::optional<CheckpointSeen> &newest, Instant now, Actions &out);
    void advance_save_only(Instant now, Actions &out);

    // head_machine_rules.cpp: what follows from the state and the time alone.
    bool may_look(const HeadInput &input, Instant now) const;
    void advance(Instant now, Actions &out);
    void find_lost(Instant now, Actions &out);
    void advance_starting(Instant now, Actions &out);
    void advance_setup(Instant now, Actions &out);
    void advance_training(Instant now, Actions &out);
    void advance_saving(Instant now, Actions &out);
    void advance_killing(Instant now, Actions &out);
    std::optional<Instant> look_end() const;
    void beat(Instant now, Actions &out);

    // head_machine_generations.cpp: from one generation to the next.
    void start_generation(std::vector<std::string> members, Instant now, Actions &out);
    bool may_restart(Instant now) const;
    void conclude(bool dead, bool harmless, Instant now, Actions &out);
    bool worth_judging() const;
    FailureFacts failure_facts() const;
    void take_choice(const CheckpointChosen &input, Instant now, Actions &out);
    bool take_ruling(const Failure &failure, Instant now, Actions &out);
    void advance_recruiting(Instant now, Actions &out);
    void finish(bool dead, Instant now, Actions &out);
    std::set<std::string> suspect_nodes() const;
    Outcome outcome(bool dead, Instant now) const;

    void enter(HeadPhase phase, Instant now, Instant deadline);
    bool is_member(const std::string &node) const;
    bool done_training() const;
    bool all_exited() const;
    bool has_ranks() const { return phase_ == HeadPhase::training || phase_ == HeadPhase::saving || phase_ == HeadPhase::killing; }
    std::optional<Instant> stall_at() const;

    HeadConfig config_;
    Fleet fleet_;
    StallWatch stall_;
    HeadPhase phase_ = HeadPhase::starting;
    std::vector<std::string> members_; // with ranks, in their order
    int generation_ = 0;
    Current now_; // the newest generation
    bool ending_ = false;    // once ending, always ending
    bool node_term_ = false, beat_pending_ = false, agents_asked_ = false;
    int failures_ = 0;       // in a row, without a newer checkpoint
    std::optional<std::int64_t> failed_at_step_; // the newest checkpoint's, when the last failure was counted
    std::vector<Failure> history_; // judged, since the newest complete checkpoint
    std::optional<Instant> not_before_; // the next generation: after failures in a row
    std::optional<CheckpointSeen> chosen_, checkpoint_;
    std::string beat_error_, last_failure_, step_text_;
    std::vector<std::string> signals_;
    std::set<std::string> suspects_;
    ProgressSeen progress_;
    Lease lease_;
    JumpWatch jumps_;
    Instant started_, phase_since_, deadline_, beat_due_, setup_since_, training_since_;
    std::optional<Instant> enough_since_; // nodes to begin with
    std::optional<Instant> agents_again_at_; // their srun could not start them
    Duration look_pause_{};               // of large fleets: the rules look at every node, and not for each message
    std::optional<Instant> looked_;
    bool unlooked_ = false;               // something came since
    Duration setup_time_{}, trained_{}; // of all generations
};

} // namespace trainctl
