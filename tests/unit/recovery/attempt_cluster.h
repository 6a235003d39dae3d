// A run on the fake cluster, for tests of whole lives of attempts.
#pragma once

#include "recovery/attempt.h"
#include "recovery/reconcile.h"
#include "support/faults.h"

#include <doctest/doctest.h>

namespace trainctl {

inline constexpr std::uint32_t uid = 1000;

inline Outcome outcome_of(OutcomeKind kind, std::optional<std::int64_t> checkpoint = {}) {
    Outcome outcome;
    outcome.kind = kind;
    outcome.text = to_string(kind);
    outcome.exit_code = kind == OutcomeKind::finished ? 0 : 1;
    outcome.checkpoint_step = checkpoint;
    return outcome;
}

// A run on the fake cluster: jobs are started by Slurm, and `head` plays the batch script.
struct Cluster {
    explicit Cluster(FakeSlurm::Settings settings = {}) : slurm(settings) {}

    TempDir folder{memory_folder()};
    FakeSlurm slurm;
    PosixFiles files;
    RunPaths paths = make_run_folders(files, folder.path());
    Recovery recovery;
    ProtocolLimits limits;
    std::string journal;

    Reconciled reconcile_now(bool act = true) {
        Actor desk{slurm, "desk"};
        auto result = reconcile(desk.world, paths, {recovery, limits, uid, act, plain_prepare(paths)});
        REQUIRE(result);
        return std::move(*result);
    }
    JobId job_of(int no) const {
        for (auto at = slurm.jobs().rbegin(); at != slurm.jobs().rend(); ++at)
            if (at->second.name == job_name(paths.run, AttemptNo{no}))
                return at->second.id;
        return {};
    }
    AttemptJob attempt_job(int no) {
        const auto &job = slurm.job(job_of(no));
        AttemptJob attempt{paths, {AttemptNo{no}, job.id, job.restarts, "n1"}, recovery, limits, "n1", true, uid, plain_prepare(paths),
                           [](std::function<void()> what) { what(); },
                           [this](const std::string &event, const std::string &text) { journal += event + " " + text + "\n"; }};
        return attempt;
    }
    // The batch script of attempt `no`, as far as the end of its job.
    int head(int no, const Train &train) {
        Actor actor{slurm, "job " + to_string(job_of(no))};
        return head(actor.world, attempt_job(no), train);
    }
    int head(World &world, const AttemptJob &attempt, const Train &train) {
        const JobId id = attempt.me.job;
        const int code = run_attempt(world, attempt, train);
        if (slurm.job(id).phase == JobPhase::running)
            slurm.finish(id, code);
        slurm.advance(std::chrono::seconds{10});
        return code;
    }
    int head(int no, const Outcome &outcome) {
        return head(no, [&](const TrainHooks &) { return outcome; });
    }
    std::optional<Ended> ended() { return *read_record_file<Ended>(files, paths.file("ended.json")); }
    Verdict verdict(int no) { return read_record_file<Verdict>(files, paths.attempt_file(AttemptNo{no}, "verdict.json"))->value(); }
    std::string state(int no) { return slurm.job(job_of(no)).state; }
    void submit() {
        CHECK(reconcile_now().state == RunState::pending);
        slurm.advance(std::chrono::seconds{5});
        REQUIRE(state(1) == "RUNNING");
    }
};

} // namespace trainctl
