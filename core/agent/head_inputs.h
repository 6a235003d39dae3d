// What the head's state machine is told, and what it asks for: values only.
#pragma once

#include "agent/head.h"
#include "agent/stall.h"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace trainctl {

// Inputs. Duplicates and late ones are normal: what is known already changes nothing.
struct NodeConnected { std::string node; };
struct NodeClosed { std::string node; };             // its connection broke; it may come back
struct NodeHeard { std::string node; };              // any message of it
struct NodeRenewed { std::string node; };            // another agent runs there now, which knows of nothing
struct SetupDone { std::string node; bool ok = true; std::string text; bool bad_node = false; };
struct RankExited { int generation = 0; RankExit exit; };
struct NodeRanksDead { std::string node; int generation = 0; bool confirmed = true; };
struct NodeSaw { Sight sight; };                     // of the generation before its ranks are dead
struct NodeTerm { std::string node; };               // the agent there got SIGTERM
struct ProgressSeen { std::optional<std::int64_t> step; std::optional<double> loss, rate; std::string activity = {}; };
struct EvidenceDone { std::string node; int generation = 0; std::string text; };
struct CheckpointPolled { std::optional<CheckpointSeen> newest; };
struct CheckpointChosen { // the answer to ChooseCheckpoint
    std::optional<CheckpointSeen> newest;
    std::string error;
    std::optional<Failure> failure = {}; // judged and ruled on; nothing: nobody does
};
struct StepEnded { std::string text; };              // an srun of agents ended, and what it said
struct EarlySignal {};
struct TermSignal {};
struct StopWish { bool save = true; };               // control/stop; without a save: `cancel`
struct SaveWish {};                                  // control/checkpoint-now
struct WishesSeen {};                                // control/ was read; what it asks for was given before this
struct BeatWritten { Instant started; };
struct BeatFailed { std::string why; };
struct Superseded {};
struct Tick {};
using HeadInput = std::variant<NodeConnected, NodeClosed, NodeHeard, NodeRenewed, SetupDone, RankExited, NodeRanksDead, NodeSaw, NodeTerm,
                               ProgressSeen, EvidenceDone, CheckpointPolled, CheckpointChosen, StepEnded, EarlySignal, TermSignal,
                               StopWish, SaveWish, WishesSeen, BeatWritten, BeatFailed, Superseded, Tick>;

// Actions.
struct StartSetup { std::vector<std::string> nodes; };
struct StartAgents { std::vector<std::string> nodes; }; // theirs are gone: another srun
struct StartGeneration { // nodes in the order of ranks
    int generation = 0;
    std::vector<std::string> nodes;
    std::optional<CheckpointSeen> resume_from; // of generations after the first
};
struct KillRanks { int generation = 0; };
struct SendSave { int generation = 0; std::string signal; };
struct CollectEvidence { int generation = 0; };
struct PollCheckpoint {};
struct LookAtWishes {};
struct ChooseCheckpoint { FailureFacts facts; }; // all ranks are dead: why, and which one the next generation goes on from
struct WriteBeat {};
struct ReportNode { std::string node, evidence; }; // a bad one, for health.report_node
struct Note { std::string event, text; Json data = Json::object(); }; // for the journal
struct GenerationEnded { // why, and who was first; the others' errors are a cascade
    int generation = 0;
    OutcomeKind kind = OutcomeKind::rank_failed;
    std::string text;
    std::optional<RankExit> first;
    double trained_s = 0;
};
struct Finish { Outcome outcome; };
using HeadAction = std::variant<StartSetup, StartAgents, StartGeneration, KillRanks, SendSave, CollectEvidence, PollCheckpoint, LookAtWishes,
                                ChooseCheckpoint, WriteBeat, ReportNode, Note, GenerationEnded, Finish>;

struct HeadConfig {
    std::vector<std::string> nodes;
    int needed = 1;         // nodes with ranks; those beyond are spares
    int min_nodes = 0;      // with fewer it goes on, down to these; 0: never
    int ranks_per_node = 1;
    bool in_place = true;
    bool judged = false;    // ChooseCheckpoint is answered with a failure: one that ends the attempt asks for it, too
    std::vector<Failure> earlier; // of the run, since its newest complete checkpoint
    int no_progress_max = 3;
    Duration lease = std::chrono::seconds{30}, heartbeat = std::chrono::seconds{5}, node_timeout = std::chrono::seconds{10};
    Duration save_time = std::chrono::seconds{60};
    std::string save_signal;
    std::optional<std::int64_t> total_steps;
    std::optional<std::int64_t> resumed_step; // of the first generation
    std::optional<Instant> limit; // the job's time limit, by this node's clock, which may be off by minutes
    Duration early_signal{};      // at Slurm's early signal at least this is left
    std::optional<Instant> lease_from; // since when the attempt is known to be ours; nothing: now
    StallSetting stall;
};

enum class HeadPhase {
    starting,   // agents come up
    setup,
    training,
    saving,     // asked for, and then it ends
    killing,
    choosing,   // a checkpoint, for the next generation
    recruiting, // nodes for it
    ended,
};
const char *to_string(HeadPhase phase); // as in ProgressFile::phase

} // namespace trainctl
