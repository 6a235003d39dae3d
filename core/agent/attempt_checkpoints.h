// The checkpoints of a run, as the head of an attempt handles them: the one that a generation goes on from, old ones that are
// removed, new ones that are read while the training goes on. Each call but newest_by_sizes() is from one thread at a time.
#pragma once

#include "agent/worker.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

class AttemptCheckpoints {
public:
    using Tell = std::function<void(const std::string &event, Json data)>; // the journal
    // Files and clock must outlive it.
    AttemptCheckpoints(Files &files, Clock &clock, std::string dir, Checkpoint spec, Tell tell);

    const std::string &dir() const { return dir_; }

    // The newest one that is whole, by content; nothing: there is none. `on_piece` while a large one is read.
    Result<std::optional<CheckpointSeen>> newest(const std::function<void()> &on_piece = {});
    Result<std::optional<CheckpointSeen>> back(int count); // so many before it; the newer ones are put aside
    // The next generation goes on from it, or from the beginning. No rank lives now.
    void go_on_from(const std::optional<CheckpointSeen> &chosen);

    // While a training saves: removes old ones, has a new one read, tells the newest by names and sizes.
    std::optional<CheckpointSeen> look();
    // Content is read by whoever resumes from it, or removes older ones; what was found wrong then is known.
    std::optional<CheckpointSeen> newest_by_sizes() const;

private:
    void verify(const CheckpointSeen &newest);

    Files &files_;
    Clock &clock_;
    const std::string dir_;
    const Checkpoint spec_;
    const Tell tell_;
    const std::shared_ptr<VerifiedFiles> verified_;
    std::vector<std::string> in_use_;  // what a generation resumed from, which is not removed
    std::unique_ptr<Worker> verifier_; // a thread of its own: it may read for long, or hang
    std::string asked_to_verify_;
};

} // namespace trainctl
