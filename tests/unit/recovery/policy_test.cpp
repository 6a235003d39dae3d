#include "recovery/policy.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

constexpr std::uint32_t me = 1000, root = 0;

struct Attempt {
    AttemptView view{};

    explicit Attempt(int no = 1) { view.no = AttemptNo{no}; }
    Attempt &claimed() { view.claims.push_back(Claim{JobId{7}, 0, "n1", "", 0}); return *this; }
    Attempt &began() { view.head_began = true; return *this; }
    Attempt &sealed() { view.claims.push_back(Claim{}); return *this; }
    Attempt &standby() { view.intents.push_back(Intent{"", 0, "t", JobId{6}, {}, {}}); return *this; }
    Attempt &outcome(OutcomeKind kind) { view.outcome.emplace().kind = kind; return *this; }
    Attempt &checkpoint(std::int64_t step) { view.progress.emplace().checkpoint_step = step; return *this; }
    Attempt &verdict(const char *why, std::vector<std::string> exclude = {}) {
        view.verdict.emplace().cause = why;
        view.verdict->exclude_nodes = std::move(exclude);
        return *this;
    }
    operator AttemptView() const { return view; }
};

JobSighting ended(const std::string &state, std::optional<std::uint32_t> by = {}, const std::string &nodes = "") {
    JobSighting job;
    job.id = JobId{7};
    job.phase = JobPhase::ended;
    job.state = state;
    job.cancelled_by = by;
    job.nodes = nodes;
    if (!nodes.empty())
        job.started = WallTime{};
    return job;
}

std::string next_text(const std::vector<AttemptView> &attempts, RunView run = {}, Recovery recovery = {}) {
    run.attempts = attempts;
    const NextStep next = decide_next(recovery, run);
    if (const auto *end = std::get_if<EndRun>(&next))
        return std::string{to_string(end->kind)} + ": " + end->why;
    std::string text = "go on";
    for (const auto &node : std::get<GoOn>(next).exclude_nodes)
        text += " -" + node;
    return text;
}

} // namespace

TEST_CASE("judge: the head's facts decide where it had them") {
    struct Row { OutcomeKind kind; const char *why; };
    for (const auto &[kind, why] : {
             Row{OutcomeKind::finished, cause::finished}, Row{OutcomeKind::rank_failed, cause::rank_failed},
             Row{OutcomeKind::node_lost, cause::node_lost}, Row{OutcomeKind::setup_failed, cause::setup_failed},
             Row{OutcomeKind::time_limit, cause::time_limit}, Row{OutcomeKind::stopped, cause::stopped},
             Row{OutcomeKind::do_not_restart, cause::do_not_restart},
         }) {
        CAPTURE(why);
        const auto attempt = Attempt{}.claimed().outcome(kind);
        CHECK(!verdict_needs_slurm(attempt));
        CHECK(judge(attempt, std::nullopt, me).cause == why);
        CHECK(judge(attempt, ended("TIMEOUT"), me).cause == why);
    }
}

TEST_CASE("judge: a job that an agent cancelled because its head was gone was cancelled by no user") {
    auto cancelled = ended("CANCELLED");
    cancelled.cancelled_by = me;
    auto attempt = Attempt{}.claimed().view;
    CHECK(judge(attempt, cancelled, me).cause == cause::cancelled_by_user);
    attempt.abandoned = Abandoned{"n2", "the head is gone", 0};
    CHECK(judge(attempt, cancelled, me).cause == cause::node_lost);
    CHECK(judge(attempt, ended("TIMEOUT"), me).cause == cause::time_limit);
}

TEST_CASE("judge: Slurm's final word decides where the head could not know") {
    struct Row { const char *name; AttemptView attempt; std::optional<JobSighting> job; const char *why; };
    const auto claimed = Attempt{}.claimed(), terminated = Attempt{}.claimed().outcome(OutcomeKind::terminated);
    const std::vector<Row> rows{
        {"time limit", claimed, ended("TIMEOUT"), cause::time_limit},
        {"deadline", claimed, ended("DEADLINE"), cause::time_limit},
        {"preempted", terminated, ended("PREEMPTED"), cause::preempted},
        {"node lost", claimed, ended("NODE_FAIL"), cause::node_lost},
        {"boot failed", claimed, ended("BOOT_FAIL"), cause::node_lost},
        {"out of memory", claimed, ended("OUT_OF_MEMORY"), cause::out_of_memory},
        {"failed without a word", claimed, ended("FAILED"), cause::head_lost},
        {"completed without a word", claimed, ended("COMPLETED"), cause::head_lost},
        {"a state that nobody knows", claimed, ended("PONDERING"), cause::head_lost},
        {"terminated, then failed", terminated, ended("FAILED"), cause::terminated},
        {"lease lost and cut off", Attempt{}.claimed().outcome(OutcomeKind::lease_lost), ended("NODE_FAIL"), cause::node_lost},
        {"forgotten", claimed, std::nullopt, cause::head_lost},
        {"terminated, and forgotten", terminated, std::nullopt, cause::terminated},
        {"preempted while it waited for the lease before it", Attempt{}, ended("PREEMPTED", {}, "n1"), cause::preempted},
        {"cancelled by its user", terminated, ended("CANCELLED", me), cause::cancelled_by_user},
        {"cancelled by the administrator", terminated, ended("CANCELLED", root), cause::cancelled_by_other},
        {"cancelled, and nobody says by whom", terminated, ended("CANCELLED"), cause::cancelled_by_user},
        {"never claimed: failed", Attempt{}, ended("FAILED"), cause::launch_failed},
        {"never claimed: node lost", Attempt{}, ended("NODE_FAIL"), cause::launch_failed},
        {"never claimed: a prolog failed", Attempt{}, ended("CANCELLED", root, "n1"), cause::launch_failed},
        {"never claimed: a prolog failed, no accounting", Attempt{}, ended("CANCELLED", {}, "n1"), cause::launch_failed},
        {"never claimed: a standby's prolog failed", Attempt{}.standby(), ended("CANCELLED", {}, "n1"), cause::launch_failed},
        {"never claimed: a prolog failed, and SlurmUser is the user", Attempt{}, ended("CANCELLED", me, "n1"), cause::launch_failed},
        {"never claimed: its user cancelled it while it waited for a lease", Attempt{}.began(), ended("CANCELLED", me, "n1"), cause::cancelled_by_user},
        {"the same, no accounting", Attempt{}.began(), ended("CANCELLED", {}, "n1"), cause::cancelled_by_user},
        {"never claimed: its user cancelled it in the queue", Attempt{}, ended("CANCELLED", me), cause::cancelled_by_user},
        {"never claimed: cancelled in the queue, no accounting", Attempt{}, ended("CANCELLED"), cause::cancelled_by_user},
        {"a standby that Slurm dropped", Attempt{}.standby(), ended("CANCELLED"), cause::standby_unneeded},
        {"a standby that its user cancelled", Attempt{}.standby(), ended("CANCELLED", me), cause::standby_unneeded},
        {"a job that was not needed and cancelled itself", Attempt{}.sealed(), ended("CANCELLED", me, "n1"), cause::standby_unneeded},
        {"a standby that is forgotten", Attempt{}.standby(), std::nullopt, cause::standby_unneeded},
        {"never claimed and forgotten", Attempt{}, std::nullopt, cause::launch_failed},
    };
    for (const auto &row : rows) {
        CAPTURE(row.name);
        CHECK(judge(row.attempt, row.job, me).cause == row.why);
    }
}

TEST_CASE("judge: the node of a job that could not be launched is left out where there is only one that it can be") {
    using Nodes = std::vector<std::string>;
    auto script = ended("FAILED", {}, "n1");
    script.reason = "JobLaunchFailure";
    struct Row { const char *name; AttemptView attempt; JobSighting job; Nodes nodes; };
    const std::vector<Row> rows{
        {"a prolog failed", Attempt{}, ended("CANCELLED", root, "n1"), {"n1"}},
        {"a prolog failed, no accounting", Attempt{}, ended("CANCELLED", {}, "n1"), {"n1"}},
        {"the node was lost before the script began", Attempt{}, ended("NODE_FAIL", {}, "n1"), {"n1"}},
        {"slurmd could not start the script", Attempt{}, script, {"n1"}},
        {"one of several: Slurm drains it", Attempt{}, ended("CANCELLED", root, "n[1-2]"), {}},
        {"the script itself failed", Attempt{}, ended("FAILED", {}, "n1"), {}},
        {"cancelled in the queue", Attempt{}, ended("CANCELLED", me), {}},
        {"a claimed one that its user cancelled", Attempt{}.claimed(), ended("CANCELLED", me, "n1"), {}},
        {"a job that was not needed and cancelled itself", Attempt{}.sealed(), ended("CANCELLED", me, "n1"), {}},
    };
    for (const auto &row : rows) {
        CAPTURE(row.name);
        CHECK(judge(row.attempt, row.job, me).exclude_nodes == row.nodes);
    }
}

TEST_CASE("judge: the verdict keeps the evidence and the suspects") {
    auto attempt = Attempt{}.claimed().outcome(OutcomeKind::node_lost).view;
    attempt.outcome->text = "node n2 is gone";
    attempt.outcome->suspect_nodes = {"n2"};
    auto job = ended("FAILED");
    job.reason = "NonZeroExitCode";
    job.evidence = "sacct";
    const auto verdict = judge(attempt, job, me);
    CHECK(verdict.text == "node n2 is gone");
    CHECK(verdict.slurm_state == "FAILED");
    CHECK(verdict.slurm_reason == "NonZeroExitCode");
    CHECK(verdict.evidence == "outcome.json, sacct");
    CHECK(verdict.exclude_nodes == std::vector<std::string>{"n2"});
    CHECK(judge(Attempt{}.claimed(), job, me).text == "head lost: Slurm says FAILED, NonZeroExitCode");
    CHECK(judge(Attempt{}.claimed(), std::nullopt, me).text == "head lost; Slurm has forgotten the job");
}

TEST_CASE("judge: the node of a head that Slurm lost is left out from now on, the node of one that died is not") {
    const auto claimed = Attempt{}.claimed();
    CHECK(judge(claimed, ended("NODE_FAIL"), me).exclude_nodes == std::vector<std::string>{"n1"});
    CHECK(judge(claimed, ended("FAILED"), me).exclude_nodes.empty());
    CHECK(judge(Attempt{}, ended("NODE_FAIL"), me).exclude_nodes.empty());
    CHECK(judge(Attempt{}.claimed().outcome(OutcomeKind::rank_failed), ended("NODE_FAIL"), me).exclude_nodes.empty()); // it had ended before
}

TEST_CASE("judge: who cancelled a job is worth waiting for where that decides") {
    const auto claimed = Attempt{}.claimed(), abandoned = [] { auto of = Attempt{}.claimed(); of.view.abandoned = Abandoned{}; return of; }();
    CHECK(verdict_waits_for_who(claimed, ended("CANCELLED")));
    CHECK(verdict_waits_for_who(Attempt{}, ended("CANCELLED")));
    CHECK(!verdict_waits_for_who(Attempt{}, ended("CANCELLED", {}, "n1"))); // our program never began
    CHECK(verdict_waits_for_who(Attempt{}.began(), ended("CANCELLED", {}, "n1")));
    CHECK(!verdict_waits_for_who(claimed, ended("CANCELLED", root)));
    CHECK(!verdict_waits_for_who(claimed, ended("TIMEOUT")));
    CHECK(!verdict_waits_for_who(abandoned, ended("CANCELLED")));
    CHECK(!verdict_waits_for_who(Attempt{}.standby(), ended("CANCELLED"))); // Slurm drops standbys
    CHECK(!verdict_waits_for_who(Attempt{}.claimed().outcome(OutcomeKind::rank_failed), ended("CANCELLED")));
}

TEST_CASE("next: ends that are ends, and failures that are not") {
    struct Row { const char *why, *next; };
    for (const auto &[why, next] : {
             Row{cause::finished, "finished: every rank ended with 0"}, Row{cause::stopped, "stopped: stopped"},
             Row{cause::cancelled_by_user, "stopped: cancelled by user"},
             Row{cause::do_not_restart, "failed: the training ended with exit code 93: do not restart"},
             Row{cause::rank_failed, "go on"}, Row{cause::node_lost, "go on"}, Row{cause::setup_failed, "go on"},
             Row{cause::time_limit, "go on"}, Row{cause::preempted, "go on"}, Row{cause::cancelled_by_other, "go on"},
             Row{cause::out_of_memory, "go on"}, Row{cause::head_lost, "go on"}, Row{cause::launch_failed, "go on"},
             Row{cause::terminated, "go on"},
         }) {
        CAPTURE(why);
        CHECK(next_text({Attempt{}.claimed().verdict(why)}) == next);
    }
    CHECK(next_text({Attempt{}.claimed().outcome(OutcomeKind::finished)}) == "finished: every rank ended with 0");
}

TEST_CASE("next: a wish to stop ends the run, but not one that finished") {
    RunView wished;
    wished.end_wish = EndWish::stop;
    CHECK(next_text({Attempt{}.claimed().verdict(cause::rank_failed)}, wished) == "stopped: stopped by the user");
    // The attempt that it ended has a verdict by now: the words are still those of the wish.
    wished.end_wish = EndWish::cancel;
    CHECK(next_text({Attempt{}.claimed().verdict(cause::stopped)}, wished) == "stopped: cancelled by the user");
    CHECK(next_text({Attempt{}.claimed().verdict(cause::finished)}, wished) == "finished: every rank ended with 0");
}

TEST_CASE("next: attempts that never ran are looked through") {
    CHECK(next_text({Attempt{1}.claimed().verdict(cause::finished), Attempt{2}.standby().verdict(cause::standby_unneeded)}) ==
          "finished: every rank ended with 0");
    CHECK(next_text({Attempt{1}.claimed().verdict(cause::rank_failed), Attempt{2}}) == "go on");
    CHECK(next_text({Attempt{1}.verdict(cause::standby_unneeded)}) == "go on");
}

TEST_CASE("next: failures in a row without a newer checkpoint end the run, with the last line of the training") {
    const auto stuck = [](int no, std::int64_t step) { return Attempt{no}.claimed().checkpoint(step).verdict(cause::rank_failed); };
    std::vector<AttemptView> attempts{stuck(1, 10), stuck(2, 10), stuck(3, 10)};
    CHECK(next_text(attempts) == "go on"); // the first one made a checkpoint
    attempts.push_back(stuck(4, 10));
    attempts.back().outcome.emplace().first.emplace().last_lines = {"Traceback", "ValueError: x"};
    CHECK(next_text(attempts) == "failed: 3 failures in a row without a newer checkpoint (recovery.no_progress_max); "
                                 "the last one: rank failed; its last line: ValueError: x");
    attempts.push_back(stuck(5, 11)); // a newer one: counted anew
    CHECK(next_text(attempts) == "go on");
}

TEST_CASE("next: a checkpoint before the limit counts, whoever noted it, and an older one does not") {
    auto by_outcome = Attempt{2}.claimed().verdict(cause::time_limit).view;
    by_outcome.outcome.emplace().checkpoint_step = 20;
    CHECK(checkpoint_step_of(by_outcome) == 20);
    CHECK(checkpoint_step_of(Attempt{}.checkpoint(5)) == 5);
    CHECK(!checkpoint_step_of(Attempt{}));
    Recovery one;
    one.no_progress_max = 1;
    CHECK(next_text({Attempt{1}.claimed().checkpoint(10).verdict(cause::rank_failed), by_outcome}, {}, one) == "go on");
    by_outcome.outcome->checkpoint_step = 9;
    CHECK(next_text({Attempt{1}.claimed().checkpoint(10).verdict(cause::rank_failed), by_outcome}, {}, one).find("failed: 1 failure in a row") == 0);
}

TEST_CASE("next: what says nothing about the training is not held against it") {
    Recovery one;
    one.no_progress_max = 1;
    for (const auto *why : {cause::preempted, cause::cancelled_by_other})
        CHECK(next_text({Attempt{1}.claimed().verdict(why), Attempt{2}.claimed().verdict(why)}, {}, one) == "go on");
    CHECK(next_text({Attempt{1}.claimed().verdict(cause::head_lost)}, {}, one).find("failed:") == 0);
}

TEST_CASE("next: max_attempts counts attempts that ran or failed to, not standbys that were not needed") {
    Recovery two;
    two.max_attempts = 2;
    const auto good = [](int no) { return Attempt{no}.claimed().checkpoint(no).verdict(cause::time_limit); };
    CHECK(next_text({good(1), Attempt{2}.standby().verdict(cause::standby_unneeded)}, {}, two) == "go on");
    CHECK(next_text({good(1), good(2)}, {}, two).find("failed: 2 attempts (recovery.max_attempts)") == 0);
}

TEST_CASE("next: a resume forgives what was before it, bad nodes too, but no checkpoint is forgotten") {
    const auto stuck = [](int no) { return Attempt{no}.claimed().checkpoint(10).verdict(cause::rank_failed, {"n" + std::to_string(no)}); };
    RunView resumed;
    resumed.forgiven = AttemptNo{4};
    std::vector<AttemptView> attempts{stuck(1), stuck(2), stuck(3), stuck(4)};
    CHECK(next_text(attempts).find("failed:") == 0);
    CHECK(next_text(attempts, resumed) == "go on");
    attempts.push_back(stuck(5));
    attempts.push_back(stuck(6));
    CHECK(next_text(attempts, resumed).find("go on") == 0);
    attempts.push_back(stuck(7)); // no newer than the forgiven ones' checkpoint, three in a row
    CHECK(next_text(attempts, resumed).find("failed: 3 failures in a row") == 0);
}

TEST_CASE("next: a resumed run goes on whatever its end was, unless somebody asks to stop it again") {
    RunView resumed;
    resumed.forgiven = AttemptNo{1};
    for (const auto *why : {cause::stopped, cause::cancelled_by_user, cause::do_not_restart}) {
        CHECK(next_text({Attempt{1}.claimed().verdict(why)}, resumed) == "go on");
        CHECK(next_text({Attempt{1}.claimed().verdict(why), Attempt{2}.verdict(cause::standby_unneeded)}, resumed) == "go on");
    }
    resumed.end_wish = EndWish::stop;
    CHECK(next_text({Attempt{1}.claimed().verdict(cause::rank_failed)}, resumed) == "stopped: stopped by the user");
}

TEST_CASE("next: a failure that was ruled to stop ends the run with its reason; one that was not goes on") {
    const auto failed = [](RulingKind ruling, int generation) {
        auto attempt = Attempt{1}.claimed().outcome(OutcomeKind::rank_failed);
        attempt.view.outcome->generations = 2;
        auto &failure = attempt.view.outcome->history.emplace_back();
        failure.what = "What it was.";
        failure.reason = "why so";
        failure.ruling = ruling;
        failure.attempt = 1;
        failure.generation = generation;
        return attempt;
    };
    CHECK(next_text({failed(RulingKind::stop, 2)}) == "failed: What it was. Stopped: why so");
    CHECK(next_text({failed(RulingKind::hand_over, 2)}) == "go on");
    CHECK(next_text({failed(RulingKind::stop, 1)}) == "go on"); // not the one that ended it
    RunView resumed;
    resumed.forgiven = AttemptNo{1};
    CHECK(next_text({failed(RulingKind::stop, 2)}, resumed) == "go on");
}

TEST_CASE("next: bad nodes of all attempts are left out, each once") {
    CHECK(next_text({Attempt{1}.claimed().verdict(cause::node_lost, {"n3", "n1"}), Attempt{2}.claimed().verdict(cause::node_lost, {"n1", "n2"})}) ==
          "go on -n1 -n2 -n3");
}
