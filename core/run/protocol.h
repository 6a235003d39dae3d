// The protocol that keeps a run exactly once: how an attempt is made, and who may train as it. The decisions
// are pure (next_claim_step, next_make_step); claim_attempt and make_attempt carry them out through the seams
// of World, so that the same code runs on a cluster and in the simulator. core/README.md has the rules.
#pragma once

#include "base/clock.h"
#include "run/view.h"
#include "slurm/scheduler.h"

#include <functional>
#include <map>
#include <variant>

namespace trainctl {

struct World {
    Files &files;
    Scheduler &scheduler;
    Clock &clock;
    std::string who; // for records: "job 12 on n1"
    // Facts about an attempt that this process made: seals, verdicts, the end. Nothing: they are told nobody.
    std::function<void(AttemptNo, const std::string &event, const std::string &text)> journal = {};

    void tell(AttemptNo about, const std::string &event, const std::string &text) const {
        if (journal)
            journal(about, event, text);
    }
};

struct ProtocolLimits {
    Duration lease{std::chrono::seconds{30}};           // how long ranks live on when nobody can reach them
    Duration margin{std::chrono::seconds{2}};           // for killing them, on top of the lease
    Duration poll{std::chrono::seconds{2}};
    Duration horizon{std::chrono::seconds{150}};        // sbatch's own retries (15 times, 1..15 s) end before this
    Duration blind_patience{std::chrono::minutes{2}};   // Slurm silent this long: the lease alone decides
    Duration running_patience{std::chrono::minutes{10}};// an earlier attempt that runs on and on: leave it to it
    Duration make_patience{std::chrono::minutes{10}};   // Slurm silent this long while an attempt is being made
    Duration accounting_patience{std::chrono::seconds{30}}; // for accounting to say who cancelled a job; it takes seconds
    Duration disk_patience{std::chrono::minutes{10}};   // a run directory that is full or away: for a server to come back, or space
    int most_doubted_nodes = 16;                        // that are avoided on suspicion alone
};

// --- Who may train -----------------------------------------------------------------------------------

struct Claimant {
    AttemptNo no;
    JobId job;
    int restarts = 0; // SLURM_RESTART_COUNT: a site may requeue a job against our wish
    std::string host;

    bool is(const Claim &claim) const { return claim.id == job && claim.restarts == restarts; }
};

struct LeaveIt { std::string why; };                       // this job must not train; it ends and changes nothing
struct SealAttempt { AttemptNo no; std::size_t slot; };    // close an earlier attempt that is dead
struct LinkClaim { std::size_t slot; };
struct AskSlurm {};                                         // about the owners of earlier attempts
struct WaitFor { Duration duration; std::string why; };
struct TrainNow {};                                         // the claim is ours and nobody else's ranks can live
using ClaimStep = std::variant<LeaveIt, SealAttempt, LinkClaim, AskSlurm, WaitFor, TrainNow>;

// What the claimant has seen besides the run directory.
struct ClaimKnowledge {
    std::map<AttemptNo, Instant> sealed_seen;  // since when we know that an attempt is sealed
    std::map<AttemptNo, std::pair<std::uint64_t, Instant>> beat_seen; // a beat, and since when it stands still
    std::optional<Instant> claimed_seen;       // since when the last claim of our attempt is ours
    std::optional<Scheduler::Found> jobs;      // Slurm's last answer
    std::optional<Instant> blind_since;        // Slurm has not answered since
    Instant started;
};

ClaimStep next_claim_step(const RunView &run, const Claimant &me, const ClaimKnowledge &known,
                          const ProtocolLimits &limits, Instant now);

// Until TrainNow (an empty text) or LeaveIt (why). Errors: io of the run directory.
Result<std::string> claim_attempt(World &world, const RunPaths &paths, const Claimant &me, const ProtocolLimits &limits);

// True while the last claim of the attempt is `me`. Ask it after each beat was written into the attempt's folder:
// that write makes NFS show what others linked there. From `false` on no rank may live.
Result<bool> still_claimed(Files &files, const RunPaths &paths, const Claimant &me);

// --- Making an attempt --------------------------------------------------------------------------------

struct MakeRequest {
    AttemptNo no;
    std::optional<JobId> after;              // a standby
    std::vector<std::string> exclude_nodes;
    // Writes the script and gives what sbatch needs. Called once for each intent.
    std::function<Result<SubmitRequest>(const MakeRequest &)> prepare;
};

enum class MadeKind {
    live,       // a job of this attempt's name is pending, running, or has claimed it
    over,       // its job came and went, or the attempt was sealed
    rejected,   // sbatch said no
    unclear,    // Slurm stayed silent for make_patience: a later call goes on from here
};
struct MadeAttempt {
    MadeKind kind = MadeKind::unclear;
    std::optional<JobId> job;
    std::string text; // why, for rejected and unclear
};

// What to do next about an attempt whose folder exists. `mine` is the token of the intent that this call made.
struct PublishIntent { std::size_t slot; };
struct LookForJob {};
struct MakeDone { MadeAttempt made; };
using MakeStep = std::variant<PublishIntent, LookForJob, WaitFor, MakeDone>;

struct MakeKnowledge {
    std::string mine;
    bool retry_rejected = true;               // a refusal of an earlier call is tried again
    std::optional<Scheduler::Found> jobs;     // answered since the last step
    std::size_t intents_seen = 0;
    std::optional<Instant> answered_since;    // Slurm answered "not there" about the last intent first at
    std::optional<Instant> silent_since;      // Slurm has not answered since
    Instant started;
    std::string sbatch_said;                  // where its answer was neither yes nor no
};

MakeStep next_make_step(const AttemptView &attempt, const MakeKnowledge &known, const ProtocolLimits &limits,
                        Instant now);

// Makes or adopts the attempt: mkdir, intent, sbatch, job.json. Safe to call again and by several at once:
// sbatch is called once for each intent, and a new intent only when no job can come of the one before.
Result<MadeAttempt> make_attempt(World &world, const RunPaths &paths, const MakeRequest &request,
                                 const ProtocolLimits &limits);

// A rejected sbatch leaves a record of the same name that never was a job.
bool is_ghost(const JobSighting &job);
bool is_live(const JobSighting &job);

} // namespace trainctl
