// Runs in the situations that a person meets, as the desk answers them.
#pragma once

#include "base/json.h"
#include "run/records.h"

#include <string>
#include <utility>
#include <vector>

namespace trainctl {

inline constexpr std::int64_t test_now = 1'800'010'000; // 2027-01-15T10:46:40Z

inline Json base_status(const std::string &state) {
    return {{"format", 1}, {"run", "gpt-k3f9x"}, {"name", "gpt"}, {"state", state}, {"text", ""}, {"cluster", "sandbox"},
            {"owner", "me"}, {"created", test_now - 4000}, {"now", test_now}, {"dir", "/shared/trainctl/runs/gpt-k3f9x"},
            {"stop_wished", false}, {"code", {{"hash", std::string(64, 'a')}, {"commit", "0123456789abcdef0123"}, {"dirty", true}}},
            {"ended", nullptr}, {"attempts", Json::array()}, {"journal_problems", Json::array()}};
}

inline Json job_json(int id, const std::string &phase, const std::string &state) {
    return {{"id", id}, {"phase", phase}, {"state", state}, {"reason", ""}, {"nodes", phase == "pending" ? "" : "n[1-2]"},
            {"submitted", test_now - 190}, {"started", nullptr}, {"ended", nullptr}, {"problem", nullptr}};
}

// Claimed and in the queue's list unless the job says otherwise.
inline Json attempt_json(int no, Json job, bool claimed) {
    Json out{{"no", no}, {"jobs", Json::array({job})}, {"owner", nullptr}, {"standby", false}, {"rejected", nullptr},
             {"exclude_nodes", Json::array()}, {"progress", nullptr}, {"outcome", nullptr}, {"verdict", nullptr}};
    if (claimed)
        out["owner"] = {{"job", job["id"]}, {"restarts", 0}, {"host", "n1"}, {"made", test_now - 4000 + 1000 * no}};
    return out;
}

inline Json progress_json(std::int64_t step, std::optional<std::int64_t> resumed, int age_s) {
    ProgressFile progress;
    progress.beat = 100;
    progress.written = test_now - age_s;
    progress.phase = "training";
    progress.step = step;
    progress.total_steps = 1000;
    progress.loss = 2.3111;
    progress.rate = 3.4142;
    progress.checkpoint_step = step / 50 * 50;
    progress.resumed_step = resumed;
    progress.training_since = test_now - 362;
    progress.nodes = 2;
    progress.ranks = 16;
    Json out = to_json(progress);
    out["age_s"] = age_s;
    return out;
}

inline RankExit killed_rank() { return {3, 1, "n2", 0, 9, 14.25, false, {"step 410 loss 2.41", "step 411 loss 2.40"}}; }
inline RankExit raising_rank() {
    return {0, 0, "n1", 1, 0, 2.125, false,
            {"Traceback (most recent call last):", "  File \"train.py\", line 77, in <module>", "    main()",
             "  File \"train.py\", line 41, in main", "    loss = model(batch)", "ValueError: batch has 3 dimensions, not 2"}};
}

inline Outcome outcome_of(OutcomeKind kind, std::string text, std::int64_t written) {
    Outcome outcome;
    outcome.kind = kind;
    outcome.text = std::move(text);
    outcome.written = written;
    outcome.training_s = 300;
    outcome.checkpoint_step = 400;
    outcome.last_step = 411;
    return outcome;
}

inline Json ended_attempt(int no, const Outcome &outcome, const std::string &cause) {
    Json out = attempt_json(no, job_json(10 + no, "ended", "FAILED"), true);
    Verdict verdict;
    verdict.cause = cause;
    verdict.text = outcome.text;
    out["outcome"] = to_json(outcome);
    out["verdict"] = to_json(verdict);
    return out;
}

inline Json first_crash() {
    auto outcome = outcome_of(OutcomeKind::rank_failed, "rank 3 on n2 was killed by signal 9", test_now - 2003);
    outcome.first = killed_rank();
    return ended_attempt(1, outcome, "rank failed");
}

inline Json second_limit() {
    auto outcome = outcome_of(OutcomeKind::time_limit, "the time limit came near", test_now - 1001);
    outcome.resumed_step = 400;
    outcome.checkpoint_step = outcome.last_step = 800;
    return ended_attempt(2, outcome, "time limit");
}

inline Json pending_run() {
    auto status = base_status("pending");
    auto job = job_json(12, "pending", "PENDING");
    job["reason"] = "Resources";
    status["attempts"] = {attempt_json(1, job, false)};
    return status;
}

inline Json never_starting_run() {
    auto status = pending_run();
    status["attempts"][0]["jobs"][0]["problem"] = {{"never", true}, {"why", "its time limit is over the partition's (PartitionTimeLimit)"},
                                                   {"hint", "compare with `scontrol show partition`, change `resources` and submit again"}};
    return status;
}

inline Json running_run() {
    auto status = base_status("running");
    auto first = attempt_json(1, job_json(11, "running", "RUNNING"), true);
    first["progress"] = progress_json(424, std::nullopt, 2);
    auto standby = attempt_json(2, job_json(12, "pending", "PENDING"), false);
    standby["standby"] = true;
    standby["jobs"][0]["reason"] = "Dependency";
    status["attempts"] = {first, standby};
    return status;
}

inline Json resumed_run() {
    auto status = base_status("running");
    auto third = attempt_json(3, job_json(13, "running", "RUNNING"), true);
    third["progress"] = progress_json(870, 800, 20);
    status["attempts"] = {first_crash(), second_limit(), third};
    return status;
}

inline Json finished_run() {
    auto status = base_status("finished");
    auto outcome = outcome_of(OutcomeKind::finished, "every rank ended with 0", test_now - 600);
    outcome.resumed_step = 800;
    outcome.checkpoint_step = outcome.last_step = 1000;
    auto third = ended_attempt(3, outcome, "finished");
    third["progress"] = progress_json(1000, 800, 600);
    auto standby = attempt_json(4, job_json(14, "ended", "CANCELLED"), false);
    standby["standby"] = true;
    Verdict unneeded;
    unneeded.cause = "standby not needed";
    standby["verdict"] = to_json(unneeded);
    status["attempts"] = {first_crash(), second_limit(), third, standby};
    status["ended"] = to_json(Ended{EndKind::finished, "every rank ended with 0", AttemptNo{3}, test_now - 600});
    return status;
}

inline Json failed_run() {
    auto status = base_status("failed");
    auto outcome = outcome_of(OutcomeKind::rank_failed, "rank 0 on n1 exited with code 1", test_now - 3000);
    outcome.first = raising_rank();
    outcome.training_s = 2;
    outcome.checkpoint_step = outcome.last_step = std::nullopt;
    status["attempts"] = {ended_attempt(1, outcome, "rank failed"), ended_attempt(2, outcome, "rank failed"), ended_attempt(3, outcome, "rank failed")};
    status["ended"] = to_json(Ended{EndKind::failed,
                                    "3 failures in a row without a newer checkpoint (recovery.no_progress_max); the last one: rank failed; "
                                    "its last line: ValueError: batch has 3 dimensions, not 2",
                                    AttemptNo{3}, test_now - 312});
    return status;
}

inline Json stopped_run() {
    auto status = base_status("stopped");
    auto outcome = outcome_of(OutcomeKind::stopped, "a stop was asked for", test_now - 60);
    status["attempts"] = {ended_attempt(1, outcome, "stopped")};
    status["stop_wished"] = true;
    status["ended"] = to_json(Ended{EndKind::stopped, "stopped", AttemptNo{1}, test_now - 60});
    return status;
}

inline Json blind_run() {
    auto status = running_run();
    status["state"] = "unknown";
    status["text"] = "squeue: slurm_load_jobs error: Unable to contact slurm controller (connect failure)\nhint: is slurmctld up?";
    status["attempts"][0]["jobs"] = status["attempts"][1]["jobs"] = Json::array();
    status["unknown_since"] = status["attempts"][1]["unknown_since"] = test_now - 190;
    return status;
}

inline Json silent_run() {
    auto status = running_run();
    status["attempts"][0]["progress"] = progress_json(424, std::nullopt, 190);
    return status;
}

inline Json rejected_standby_run() {
    auto status = running_run();
    auto &standby = status["attempts"][1];
    standby["jobs"] = Json::array();
    standby["rejected"] = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
    return status;
}

inline std::vector<std::pair<std::string, Json>> situations() {
    return {{"pending", pending_run()},   {"never_starts", never_starting_run()}, {"running", running_run()}, {"resumed", resumed_run()},
            {"finished", finished_run()}, {"failed", failed_run()},               {"stopped", stopped_run()}, {"blind", blind_run()},
            {"silent", silent_run()},     {"rejected_standby", rejected_standby_run()}};
}

} // namespace trainctl
