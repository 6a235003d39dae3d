#include "agent/attempt_checkpoints.h"

#include "base/text.h"
#include "checkpoint/retention.h"
#include "checkpoint/roll_back.h"
#include "checkpoint/tracker.h"
#include "checkpoint/verified_files.h"

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr auto settled = 5s; // since a save was written last: then its files can be known by their times

} // namespace

AttemptCheckpoints::AttemptCheckpoints(Files &files, Clock &clock, std::string dir, Checkpoint spec, Tell tell)
    : files_(files), clock_(clock), dir_(std::move(dir)), spec_(std::move(spec)), tell_(std::move(tell)), verified_(std::make_shared<VerifiedFiles>()) {}

Result<std::optional<CheckpointSeen>> AttemptCheckpoints::newest(const std::function<void()> &on_piece) {
    HashLimits limits;
    if (on_piece)
        limits.on_piece = on_piece;
    limits.verified = verified_;
    auto choice = newest_complete(dir_, spec_, limits);
    if (!choice)
        return choice.error();
    for (const auto &refused : choice->refused)
        tell_("checkpoint_refused", Json{{"path", refused.path}, {"step", refused.step}, {"why", refused.why_not}});
    return std::move(choice->newest);
}

Result<std::optional<CheckpointSeen>> AttemptCheckpoints::back(int count) {
    return roll_back(files_, dir_, spec_, count, HashLimits{.verified = verified_});
}

void AttemptCheckpoints::go_on_from(const std::optional<CheckpointSeen> &chosen) {
    in_use_.clear();
    if (!chosen)
        return;
    in_use_.push_back(chosen->path);
    const auto aimed = aim_tracker(files_, dir_, *chosen);
    if (!aimed)
        tell_("tracker_not_aimed", Json{{"text", aimed.error().text()}});
    else if (*aimed)
        tell_("tracker_aimed", Json{{"path", (*aimed)->path}, {"before", valid_utf8((*aimed)->before)}, {"now", (*aimed)->now}});
}

std::optional<CheckpointSeen> AttemptCheckpoints::look() {
    const auto removed = remove_old_checkpoints(files_, dir_, spec_, in_use_, HashLimits{.verified = verified_});
    for (const auto &path : removed ? *removed : std::vector<std::string>{})
        tell_("checkpoint_removed", Json{{"path", path}});
    if (!removed)
        tell_("checkpoint_not_removed", Json{{"text", removed.error().text()}});
    auto newest = newest_by_sizes();
    if (newest)
        verify(*newest);
    return newest;
}

std::optional<CheckpointSeen> AttemptCheckpoints::newest_by_sizes() const {
    HashLimits sizes_only;
    sizes_only.verified = verified_;
    sizes_only.max_bytes = 0;
    auto choice = newest_complete(dir_, spec_, sizes_only);
    return choice ? choice->newest : std::nullopt;
}

// So that a restart need not read it. Not before it settled, and each once.
void AttemptCheckpoints::verify(const CheckpointSeen &newest) {
    if (newest.path == asked_to_verify_ || clock_.wall() - newest.modified < settled)
        return;
    asked_to_verify_ = newest.path;
    if (!verifier_)
        verifier_ = std::make_unique<Worker>();
    verifier_->add([dir = dir_, spec = spec_, verified = verified_] { (void)newest_complete(dir, spec, HashLimits{.verified = verified}).ok(); });
}

} // namespace trainctl
