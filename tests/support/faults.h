// Files, Slurm and time for the protocol's tests: every effect is counted, and one of them fails the way a test
// wants: the process dies before or after it, it is refused, or it happens and the answer is lost.
#pragma once

#include "base/files.h"
#include "run/protocol.h"
#include "support/fake_slurm.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <string>

namespace trainctl {

struct Died {}; // thrown in place of the process's death

enum class FaultMode { die_before, die_after, refused, lost_answer };
inline constexpr FaultMode fault_modes[] = {FaultMode::die_before, FaultMode::die_after, FaultMode::refused, FaultMode::lost_answer};

struct FaultPlan {
    int at = -1; // the effect that fails, from 0; -1: none
    FaultMode mode = FaultMode::die_before;
    int effects = 0; // counted so far

    bool met() const { return at >= 0 && effects > at; }
    bool is_now() { return effects++ == at; }
};

// One effect: `happen` does it and gives its answer; `lost` is what the caller hears when it can't be told.
template <class Happen, class Lost> auto with_fault(FaultPlan &plan, Happen happen, Lost lost) -> decltype(happen()) {
    if (!plan.is_now())
        return happen();
    if (plan.mode == FaultMode::die_before)
        throw Died{};
    if (plan.mode == FaultMode::refused)
        return lost();
    auto answer = happen();
    if (plan.mode == FaultMode::die_after)
        throw Died{};
    return lost();
}

class FaultyFiles : public Files {
public:
    explicit FaultyFiles(FaultPlan &plan) : plan_(plan) {}

    Result<bool> make_dir(const std::string &path) override { return effect([&] { return real_.make_dir(path); }); }
    Result<void> make_dirs(const std::string &path) override { return effect([&] { return real_.make_dirs(path); }); }
    Result<std::optional<std::string>> read(const std::string &path) override { return real_.read(path); }
    Result<void> write(const std::string &path, std::string_view text) override { return effect([&] { return real_.write(path, text); }); }
    Result<bool> publish(const std::string &path, std::string_view text) override { return effect([&] { return real_.publish(path, text); }); }
    Result<void> append(const std::string &path, std::string_view text) override { return effect([&] { return real_.append(path, text); }); }
    Result<std::vector<std::string>> list(const std::string &path) override { return real_.list(path); }
    Result<void> rename(const std::string &from, const std::string &to) override { return effect([&] { return real_.rename(from, to); }); }
    Result<void> remove(const std::string &path) override { return effect([&] { return real_.remove(path); }); }

private:
    template <class Happen> auto effect(Happen happen) -> decltype(happen()) {
        return with_fault(plan_, happen, [] { return Error{ErrorKind::io, "input/output error", "a test", ""}; });
    }

    PosixFiles real_;
    FaultPlan &plan_;
};

class FaultyScheduler final : public Scheduler {
public:
    FaultyScheduler(FakeSlurm &slurm, FaultPlan &plan) : slurm_(slurm), plan_(plan) {}

    SubmitAnswer submit(const SubmitRequest &request) override {
        return with_fault(plan_, [&] { return slurm_.submit(request); }, [] { return SubmitAnswer{SubmitUnknown{"Socket timed out"}}; });
    }
    Result<Found> find(const std::vector<std::string> &names) override { return slurm_.find(names); }
    Result<void> cancel(const std::vector<JobId> &ids) override { return effect([&] { return slurm_.cancel(ids); }); }
    Result<void> signal_batch(JobId id, const std::string &signal) override { return effect([&] { return slurm_.signal_batch(id, signal); }); }
    Result<void> update_pending(JobId id, const PendingUpdate &update) override { return effect([&] { return slurm_.update_pending(id, update); }); }

private:
    template <class Happen> Result<void> effect(Happen happen) {
        return with_fault(plan_, happen, [] { return Result<void>{Error{ErrorKind::unreachable, "no answer", "a test", ""}}; });
    }

    FakeSlurm &slurm_;
    FaultPlan &plan_;
};

// The fake Slurm's time is everybody's time: who sleeps lets jobs start and end.
class SlurmClock final : public Clock {
public:
    explicit SlurmClock(FakeSlurm &slurm) : slurm_(slurm) {}
    Instant now() override { return Instant{std::chrono::duration_cast<Duration>(slurm_.now().time_since_epoch())}; }
    WallTime wall() override { return slurm_.now(); }
    void sleep_for(Duration duration) override { slurm_.advance(duration); }

private:
    FakeSlurm &slurm_;
};

// One process that follows the protocol; its death is a Died.
struct Actor {
    explicit Actor(FakeSlurm &slurm, const std::string &who) : files(plan), scheduler(slurm, plan), clock(slurm), world{files, scheduler, clock, who} {}
    Actor(const Actor &) = delete;
    Actor &operator=(const Actor &) = delete;

    FaultPlan plan;
    FaultyFiles files;
    FaultyScheduler scheduler;
    SlurmClock clock;
    World world;
};

// Runs `what` as a process that may die; false when it did.
template <class What> bool survives(What what) {
    try {
        what();
        return true;
    } catch (const Died &) {
        return false;
    }
}

// Calls `body` with a plan for each effect and each way it can fail, until a plan meets no effect any more.
// `body` makes its world anew, gives the plan to one actor, and returns that actor's plan.
template <class Body> void for_each_fault(Body body) {
    constexpr int most_effects = 100;
    for (const auto mode : fault_modes) {
        bool met = true;
        for (int effect = 0; met; ++effect) {
            REQUIRE(effect < most_effects);
            CAPTURE(static_cast<int>(mode));
            CAPTURE(effect);
            met = body(FaultPlan{effect, mode}).met();
        }
    }
}

// A run directory as `submit` leaves it before the first attempt, and sbatch's options as the protocol needs them.
inline RunPaths make_run_folders(Files &files, const std::string &root) {
    const RunPaths paths{root, RunId{"x"}};
    for (const auto *folder : {"attempts", "control", "journal"})
        if (!files.make_dirs(paths.file(folder)))
            throw Died{};
    return paths;
}

inline std::function<Result<SubmitRequest>(const MakeRequest &)> plain_prepare(const RunPaths &paths) {
    return [paths](const MakeRequest &request) -> Result<SubmitRequest> {
        SubmitRequest submit;
        submit.options = {"--job-name=" + job_name(paths.run, request.no)};
        if (request.after) {
            submit.options.push_back("--dependency=afternotok:" + to_string(*request.after));
            submit.options.push_back("--kill-on-invalid-dep=yes");
        }
        if (!request.exclude_nodes.empty())
            submit.options.push_back("--exclude=" + request.exclude_nodes.front());
        return submit;
    };
}

// A run without attempts, on real files, beside a small Slurm.
struct RunStage {
    explicit RunStage(FakeSlurm::Settings settings = {}) : slurm(settings) {}

    TempDir folder{memory_folder()};
    PosixFiles files;
    FakeSlurm slurm;
    RunPaths paths = make_run_folders(files, folder.path());

    template <class T> void put(AttemptNo no, const char *name, const T &record) {
        REQUIRE(write_record_file(files, paths.attempt_file(no, name), record));
    }
};

inline int live_jobs(const FakeSlurm &slurm, const std::string &name) {
    int count = 0;
    for (const auto &[id, job] : slurm.jobs())
        count += job.name == name && (job.phase == JobPhase::pending || job.phase == JobPhase::running) ? 1 : 0;
    return count;
}

} // namespace trainctl
