// Why a generation failed, and what follows: reads the logs of its nodes, bounded in bytes and time, and decides by the rules
// of core/failure and recovery/ruling. Its head calls it from a thread of its own, once all ranks are dead.
#pragma once

#include "agent/head.h"
#include "agent/worker.h"
#include "base/files.h"
#include "failure/decide.h"

#include <memory>

namespace trainctl {

class RuleMatcher;

class FailureJudge {
public:
    struct Setting {
        RunPaths paths;
        AttemptNo attempt;
        Recovery recovery;
        std::string checkpoint_dir;
        std::int64_t min_free_mib = 0; // health.min_free: below it a disk counts as full
        FailureBook book;
    };
    FailureJudge(Files &files, Setting setting);
    ~FailureJudge();

    // Compiles the rules, which takes longer than all the rest: before anything fails.
    void prepare();
    // `newest`: the checkpoint that it goes on from. What can't be read is not known, and no error.
    Failure judge(const FailureFacts &facts, const std::optional<CheckpointSeen> &newest);
    // What was found of nodes is written beside it; false: not yet.
    bool remembered(Duration limit) const { return notes_.drain(limit); }

private:
    Evidence evidence_of(const FailureFacts &facts);
    std::vector<LogFindings> scan_logs(const FailureFacts &facts);
    LogFindings scan_text(const std::string &shown, const std::vector<std::string> &lines);
    Diagnosis diagnose(const FailureFacts &facts);
    bool has_room_again() const;
    void remember(const Failure &failure);

    Files &files_;
    const Setting setting_;
    std::unique_ptr<RuleMatcher> matcher_;
    Worker notes_; // writes what is remembered of nodes, which nobody waits for
    std::uint64_t batch_read_ = 0;         // bytes of the batch log that earlier generations had
};

} // namespace trainctl
