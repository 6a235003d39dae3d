// When silence of a training is a stall: learns how often signs of progress come, and says until when the next one is
// waited for. A false alarm costs more than a late one, so every doubt lengthens the wait. Pure.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "experiment/experiment.h"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

namespace trainctl {

struct StallSetting {
    enum class Mode { automatic, off, fixed };
    Mode mode = Mode::automatic;
    Duration fixed = Duration::zero();           // of Mode::fixed: silence for this long is a stall
    Duration startup = std::chrono::minutes{30}; // health.startup_timeout
    // Whether a training that said nothing yet is known to say something (its experiment has patterns, or an earlier attempt
    // of the run showed steps). Without that, in automatic mode, one that never prints progress never stalls.
    bool expects_steps = false;
};
// Errors: invalid, for a stall_timeout that is no duration. The caller sets expects_steps.
Result<StallSetting> stall_setting(const Health &health);

class StallWatch {
public:
    explicit StallWatch(StallSetting setting) : setting_(setting) {}

    // A generation's ranks were started; what was learned about step times stays. After a stall the next wait at that
    // same place is twice as long, until the training gets beyond it: a pause taken for a hang ends no run.
    void begin(Instant now);
    // What the training shows, again and again if need be: the step and activity that were known already are no sign.
    // A call with neither step nor activity always is one: without steps call only for what is new (another loss).
    // activity: "" (or "training"), "evaluation", "checkpoint", "startup", or whatever else the training says.
    void progress(std::optional<std::int64_t> step, const std::string &activity, Instant now);
    void checkpoint_seen(Instant now); // a newer checkpoint appeared: life, but nothing about steps
    void shift(Duration by);           // we were suspended for so long

    std::optional<Instant> deadline() const; // silence until then is a stall; nothing: never
    // The same where all steps are made, or a rank has ended: what comes last takes its time (an export, an upload, ranks
    // that wait for one of them), but not for ever.
    std::optional<Instant> last_deadline() const;
    // One sentence for people: "no new step for 4 m 10 s after step 220 (steps took 1.2 s)".
    std::string why(Instant now) const;

private:
    struct Pauses { // of one declared activity
        int ended = 0;
        Duration longest = Duration::zero(); // between two signs
    };
    struct Stalled { // where the generation before was when it stalled
        std::optional<std::int64_t> step;
        int signs = 0;
    };

    Duration allowance() const;
    Duration usual() const;
    Duration step_time() const;
    void note_stall(Instant now);
    void learn(Duration gap, bool activity_ends);
    void learn_usual(Duration gap);

    StallSetting setting_;
    // Learned, over all generations.
    std::deque<Duration> gaps_; // the newest between two signs
    std::int64_t gaps_seen_ = 0;
    Duration longest_ = Duration::zero(), second_longest_ = Duration::zero();
    Duration longest_start_ = Duration::zero(); // from a generation's start to its first step
    std::map<std::string, Pauses> pauses_;
    bool ever_progress_ = false;
    int patience_ = 1;
    std::optional<Stalled> stalled_;
    // Of this generation. life_: the start or the last sign of any kind; sign_: of a step or an activity.
    std::optional<Instant> begun_, life_, sign_;
    std::optional<std::int64_t> step_;
    std::string activity_;
    int signs_ = 0;
    Duration longest_warm_ = Duration::zero();
};

} // namespace trainctl
