// A run on the fake cluster as the desk sees it, for tests of reconcile().
#pragma once

#include "recovery/reconcile.h"
#include "support/faults.h"

#include <doctest/doctest.h>
#include <functional>

namespace trainctl {

struct Desk : RunStage {
    using RunStage::RunStage;

    ReconcileRequest request{{}, {}, 1000, true, plain_prepare(paths)};

    Reconciled look() {
        Actor actor{slurm, "desk"};
        auto result = reconcile(actor.world, paths, request);
        REQUIRE(result);
        return std::move(*result);
    }
    void claim(int no, std::uint64_t job) { put(AttemptNo{no}, "claim", Claim{JobId{job}, 0, "n1", "", 0}); }
    // The same while Slurm's answers are not what they should be.
    Reconciled look_through(const std::function<void(Scheduler::Found &)> &glass) {
        struct Distorted final : Scheduler {
            FakeSlurm &slurm;
            const std::function<void(Found &)> &glass;
            Distorted(FakeSlurm &of, const std::function<void(Found &)> &through) : slurm(of), glass(through) {}
            SubmitAnswer submit(const SubmitRequest &request) override { return slurm.submit(request); }
            Result<Found> find(const std::vector<std::string> &names) override {
                auto found = slurm.find(names);
                glass(*found);
                return found;
            }
            Result<void> cancel(const std::vector<JobId> &ids) override { return slurm.cancel(ids); }
            Result<void> signal_batch(JobId id, const std::string &signal) override { return slurm.signal_batch(id, signal); }
            Result<void> update_pending(JobId id, const PendingUpdate &update) override { return slurm.update_pending(id, update); }
        } scheduler{slurm, glass};
        SlurmClock clock{slurm};
        World world{files, scheduler, clock, "desk"};
        auto result = reconcile(world, paths, request);
        REQUIRE(result);
        return std::move(*result);
    }
    void beat(int no, std::uint64_t count) {
        ProgressFile progress;
        progress.beat = count;
        progress.written = static_cast<std::int64_t>(1000 + count);
        put(AttemptNo{no}, "progress.json", progress);
    }
    std::optional<Verdict> verdict(int no) {
        return *read_record_file<Verdict>(files, paths.attempt_file(AttemptNo{no}, "verdict.json"));
    }
    std::optional<Ended> ended() { return *read_record_file<Ended>(files, paths.file("ended.json")); }
};

} // namespace trainctl
