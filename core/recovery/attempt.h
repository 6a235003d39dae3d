// The life of one attempt inside its job, from the claim to the exit code: what the head does around training.
// I/O through World only, so that the simulator runs this very code; training itself is a function.
#pragma once

#include "recovery/policy.h"
#include "run/protocol.h"

#include <functional>

namespace trainctl {

// What training may call, from any thread but one at a time. They keep what they use alive.
struct TrainHooks {
    Instant checked; // the START of the last check that the attempt is ours: a lease counts from here
    // Writes progress.json and then asks whether the attempt is still ours. False: kill the ranks, at once.
    // Ranks may live until a lease after the START of the last call that returned true.
    std::function<Result<bool>(const ProgressFile &)> beat;
    std::function<EndWish()> end_wish;
    std::function<bool()> take_save_wish; // control/checkpoint-now; true once for each wish
};
using Train = std::function<Outcome(const TrainHooks &)>;

struct AttemptJob {
    RunPaths paths;
    Claimant me;
    Recovery recovery;
    ProtocolLimits limits;
    std::string nodes;            // of the allocation, as Slurm writes them
    bool standby = true;          // make the next attempt right after the claim
    std::uint32_t own_uid = 0;
    std::function<Result<SubmitRequest>(const MakeRequest &)> prepare; // the next attempt
    // Runs a function beside training (sbatch may take minutes when the controller is silent). It uses World and
    // this AttemptJob: both live until it has ended, or the process does.
    std::function<void(std::function<void()>)> in_background;
    std::function<void(const std::string &event, const std::string &text)> journal; // from any thread
};

// Exit codes of the batch job besides those of the training.
inline constexpr int exit_go_on = 75;    // EX_TEMPFAIL: this attempt is over, the run is not
inline constexpr int exit_left = 0;      // this job was not needed

int run_attempt(World &world, const AttemptJob &job, const Train &train);

} // namespace trainctl
