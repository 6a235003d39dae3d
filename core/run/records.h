// The files of a run directory as values, their JSON, and where each lies. Pure.
// One writer each; readers accept unknown fields and refuse a newer `format`.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/process.h"
#include "base/result.h"
#include "cluster/agent_network.h"
#include "run/failure.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

enum class EndWish { none, stop, cancel }; // what control/stop says; a cancel wants no save

// Where things lie. `root` is the run root on the cluster.
struct RunPaths {
    std::string root;
    RunId run;

    std::string dir() const;                          // <root>/runs/<run>
    std::string file(const std::string &name) const;  // <dir>/<name>: "run.json", "ended.json", ...
    std::string attempt(AttemptNo no) const;          // <dir>/attempts/NNN
    std::string attempt_file(AttemptNo no, const std::string &name) const;
    std::string attempts() const { return file("attempts"); }
    std::string wish(const std::string &name) const;  // <dir>/control/<name>
    std::string journal(const std::string &writer) const;
    std::string reserve() const { return file("reserve"); } // space for the last words on a full disk
};

// run.json: who, where, and what every attempt needs besides experiment.yaml. Written once, at submit.
struct RunInfo {
    RunId run;
    std::string name, owner, cluster;
    std::string trainctl_version;
    std::string agent;            // <root>/bin/trainctl-agent-<hash>, without "-<arch>"
    std::string code_archive;     // <root>/code/<hash>.tar; empty: no snapshot
    std::string code_hash, git_commit;
    bool git_dirty = false;
    Environment job_environment;  // the whole environment that sbatch, and so every attempt, gets
    std::int64_t created = 0;     // Unix seconds, of the cluster's clock
    double submit_horizon_s = 150;// how long sbatch itself may go on retrying: before that "not found" is not final
    AgentNetwork agent_network = AgentNetwork::automatic; // the profile's
};

// attempts/NNN/intent.json: somebody is about to call sbatch for it.
struct Intent {
    std::string maker;            // who: "job 12 on n1" or "desk pid 77 on login1"
    std::int64_t made = 0;        // Unix seconds, of the maker's clock: only for people
    std::string token;            // random: which of several makers wrote it
    std::optional<JobId> after;   // depends on this job
    std::vector<std::string> options; // sbatch's arguments
    std::vector<std::string> exclude_nodes;
};

// attempts/NNN/job.json: sbatch's answer, as far as it is known. The claimant rewrites it.
struct JobFile {
    JobId id;
    std::int64_t submitted = 0;   // as Slurm says it, in Unix seconds; 0: not known yet
    std::string nodes;            // as Slurm writes it; empty until claimed
};

// attempts/NNN/claim, claim.1, claim.2, ...: who may train as this attempt. Made by link(), never changed; the
// last one counts. A seal (job id 0) ends the list: nobody may claim this attempt any more.
struct Claim {
    JobId id;                     // 0: a seal
    int restarts = 0;
    std::string host;             // the node, as Slurm names it
    std::string by;               // of a seal: which attempt or process made it
    std::int64_t made = 0;
    bool is_seal() const { return id.value == 0; }
};

// attempts/NNN/progress.json: replaced by the head at each beat.
struct ProgressFile {
    std::uint64_t beat = 0;       // counts up
    std::int64_t written = 0;     // Unix seconds, of the head's clock: for people
    int generation = 0;
    std::string phase;            // "starting", "setup", "training", "saving", "ending"
    std::optional<std::int64_t> step, total_steps;
    std::optional<double> loss, rate;         // rate: steps per second
    std::string checkpoint;                   // newest complete one, and its step
    std::optional<std::int64_t> checkpoint_step;
    std::string resumed_from;
    std::optional<std::int64_t> resumed_step;
    std::int64_t training_since = 0;          // when this generation's ranks were started
    int nodes = 0, ranks = 0;
    std::string last_failure;                 // why the generation before this one ended
    std::int64_t dropped_lines = 0;           // of output that could not be written to the logs
    int agents_by_srun = 0;                   // that reach the head through srun, not by TCP
};

// Why training stopped, as the head saw it. What Slurm says comes on top of it in the verdict.
enum class OutcomeKind {
    finished,      // every rank ended with 0
    rank_failed,   // a rank died or ended with another code
    node_lost,     // an agent or its node is gone
    hang,          // no progress for too long
    setup_failed,  // the user's setup, or the agents' own start, failed
    time_limit,    // the early signal came, and the ranks were asked to save
    terminated,    // SIGTERM at the head: scancel, time limit or preemption; Slurm's final state tells
    stopped,       // control/stop
    do_not_restart,// a rank ended with 93
    lease_lost,    // the head could not write its beat, or saw a seal
};
const char *to_string(OutcomeKind kind);

struct RankExit {
    int rank = -1, local_rank = -1;
    std::string node;
    int exit_code = 0, signal = 0;
    double at_s = 0;              // since the generation's start
    bool killed = false;          // by its guard: it is not the one that began; on the wire only
    std::vector<std::string> last_lines;
};

// attempts/NNN/outcome.json: facts by the head, written when its ranks are known to be dead.
struct Outcome {
    OutcomeKind kind = OutcomeKind::rank_failed;
    std::string text;             // one sentence for people
    int exit_code = 1;            // what the head exits with
    bool ranks_dead = true;       // false: some node could not be asked; a successor waits for the lease
    std::optional<RankExit> first; // the rank that died first
    std::vector<std::string> suspect_nodes;
    std::vector<std::string> signals; // "TERM 12.3 s after start, 48 s to the limit"
    std::string checkpoint;
    std::optional<std::int64_t> checkpoint_step, last_step, resumed_step;
    std::int64_t written = 0;
    std::int64_t training_s = 0, setup_s = 0;
    int generations = 0;          // that were started
    int failures = 0;             // in a row at the end, without a newer checkpoint; 0: not counted
    JobId job;                    // whose head wrote it, and which of its starts: a requeued job starts anew
    int restarts = 0;
    std::vector<Failure> history; // of the run, as its head knew them: since its newest complete checkpoint, oldest first
};

// attempts/NNN/abandoned.json: an agent cancels the job because its head is gone; no user did.
struct Abandoned {
    std::string node;             // the agent's
    std::string why;
    std::int64_t written = 0;
};

// attempts/NNN/verdict.json: why the attempt ended, by its successor or the reconciler; written once.
struct Verdict {
    std::string cause;            // "finished", "rank failed", "cancelled by user", "time limit", "launch failure", ...
    std::string text;
    std::string slurm_state, slurm_reason, evidence;
    std::vector<std::string> exclude_nodes; // not to be used again by this run
    std::int64_t written = 0;
    std::string by;
};

// ended.json: the run's end.
enum class EndKind { finished, failed, stopped };
const char *to_string(EndKind kind);
struct Ended {
    EndKind kind = EndKind::failed;
    std::string why;
    AttemptNo attempt;
    std::int64_t when = 0;
};

// One line of journal/<writer>.jsonl.
struct Event {
    std::string writer;
    std::uint64_t sequence = 0;   // of this writer
    int attempt = 0, generation = 0;
    std::int64_t wall_ms = 0;     // for people; order is (attempt, generation, sequence)
    std::string name;             // "attempt_made", "claimed", "standby_made", "generation_started", ...
    Json data;
};

Json to_json(const RunInfo &);
Json to_json(const Intent &);
Json to_json(const JobFile &);
Json to_json(const Claim &);
Json to_json(const ProgressFile &);
Json to_json(const RankExit &);
Json to_json(const Outcome &);
Json to_json(const Abandoned &);
Json to_json(const Verdict &);
Json to_json(const Ended &);
Json to_json(const Event &);

// `from_json_text<Outcome>(text, path)`: an Error{invalid} names the path and the field.
template <class T> Result<T> from_json_text(std::string_view text, const std::string &where);

// All events of several journals in order; a torn last line is dropped, a torn line elsewhere is reported in
// `problems` as "path:line: ...", empty lines are none.
struct Journal {
    std::vector<Event> events;
    std::vector<std::string> problems;
};
Journal read_journals(const std::map<std::string, std::string> &content_by_path);

} // namespace trainctl
