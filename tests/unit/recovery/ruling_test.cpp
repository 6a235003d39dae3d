#include "recovery/ruling.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

// A failure of a class as decide() gives it.
Failure failure(const char *name, const char *line = "", double confidence = 0.85) {
    const auto *known = builtin_failures().find_class(name);
    REQUIRE(known != nullptr);
    Diagnosis diagnosis;
    diagnosis.failure_class = name;
    diagnosis.action = known->action;
    diagnosis.restart = known->restart == RestartKind::deterministic_before_progress ? RestartKind::transient : known->restart;
    diagnosis.confidence = confidence;
    if (*line != '\0')
        diagnosis.evidence.push_back({"a rule", name, "logs/g01/n1.log", 7, 1, line});
    return failure_of(diagnosis);
}

Failure at_step(Failure failure, std::int64_t step) {
    failure.step = step;
    return failure;
}

Failure suspecting(Failure failure, const char *node, bool proven) {
    failure.suspects.push_back({node, -1, "its words", proven});
    return failure;
}

Failure ruled(Failure failure, const RulingFacts &facts = {}, const Recovery &recovery = {}) {
    rule_on(builtin_failures(), recovery, facts, failure);
    return failure;
}

RulingFacts after(std::vector<Failure> earlier) {
    RulingFacts facts;
    facts.earlier = std::move(earlier);
    return facts;
}

using Nodes = std::vector<std::string>;

} // namespace

TEST_CASE("ruling: what another try can't mend stops the run at once, if that is sure") {
    for (const char *name : {"py-error", "cuda-oom", "storage-full", "library-missing", "nan-loss"}) {
        CAPTURE(name);
        CHECK(ruled(failure(name, "a line")).ruling == RulingKind::stop);
        const auto unsure = failure(name, "a line", 0.5);
        CHECK(ruled(unsure).ruling == RulingKind::restart_in_place);
        CHECK(ruled(failure(name, "another line", 0.5), after({unsure})).ruling == RulingKind::stop);
    }
}

TEST_CASE("ruling: what says nothing about the training goes on, however often") {
    std::vector<Failure> many(30, failure("preemption"));
    CHECK(ruled(failure("preemption"), after(many)).ruling == RulingKind::hand_over);
    CHECK(ruled(failure("time-limit"), after(many)).ruling == RulingKind::hand_over);
    CHECK(ruled(failure("time-limit"), after(many)).wait_s == 0);
}

TEST_CASE("ruling: a class has its budget, which a newer checkpoint refills") {
    const auto timeout = failure("nccl-timeout"); // three
    CHECK(ruled(timeout).ruling == RulingKind::restart_in_place);
    CHECK(ruled(timeout, after({timeout, timeout})).ruling == RulingKind::restart_in_place);
    const auto last = ruled(timeout, after({timeout, timeout, timeout}));
    CHECK(last.ruling == RulingKind::stop);
    CHECK(last.reason == "4 failures of class nccl-timeout without a newer checkpoint, and 3 failures may be tried again");
    CHECK(ruled(timeout, after({failure("killed"), failure("hang"), timeout})).ruling == RulingKind::restart_in_place);
    CHECK(ruled(timeout, after({})).ruling == RulingKind::restart_in_place); // a newer checkpoint was made
}

TEST_CASE("ruling: the same error at the same step twice is deterministic, whatever its numbers are") {
    const auto first = at_step(failure("crash-abort", "rank 3: assertion failed at 0x7f12: 118 != 119"), 40);
    const auto again = at_step(failure("crash-abort", "rank 12: assertion failed at 0x8813: 99 != 7"), 40);
    const auto stopped = ruled(again, after({first}));
    CHECK(stopped.ruling == RulingKind::stop);
    CHECK(stopped.reason == "the same error twice at step 40, and no newer checkpoint in between: it is deterministic");
    const auto hang = at_step(failure("hang", "no step for 5 s"), 40); // three may be tried
    CHECK(ruled(at_step(hang, 41), after({hang})).ruling == RulingKind::restart_in_place);
    CHECK(ruled(hang, after({hang})).ruling == RulingKind::stop);
    CHECK(ruled(hang, after({hang, at_step(failure("killed"), 50)})).ruling == RulingKind::restart_in_place); // another one in between
    // Before the first step a network may still come up; where nothing tells two errors apart, they are not the same.
    const auto late = failure("rendezvous-timeout", "connection timed out");
    CHECK(ruled(late, after({late})).ruling == RulingKind::restart_in_place);
    CHECK(ruled(at_step(failure("hang"), 40), after({at_step(failure("hang"), 40)})).ruling == RulingKind::restart_in_place);
}

TEST_CASE("ruling: nodes are avoided on proof at once, on suspicion the second time, and that is tried first") {
    CHECK(ruled(suspecting(failure("gpu-ecc"), "n3", true)).avoid == Nodes{"n3"});
    CHECK(ruled(suspecting(failure("gpu-ecc"), "n3", true)).reason.find("without n3. ") == 0);
    const auto killed = suspecting(failure("host-oom"), "n3", false); // one may be tried
    CHECK(ruled(killed).avoid.empty());
    RulingFacts facts = after({killed});
    CHECK(ruled(killed, facts).ruling == RulingKind::stop);
    facts.named_before["n3"] = 1;
    CHECK(ruled(killed, facts).avoid == Nodes{"n3"});
    CHECK(ruled(killed, facts).ruling == RulingKind::restart_in_place);
    facts.avoided = Recovery{}.avoid_max;
    CHECK(ruled(killed, facts).avoid.empty());
    CHECK(ruled(suspecting(failure("gpu-ecc"), "n3", true), facts).avoid == Nodes{"n3"}); // the cap is for suspicions
    facts.avoided = 0;
    Recovery forgetful;
    forgetful.avoid_for = std::chrono::seconds{0};
    CHECK(ruled(killed, facts, forgetful).avoid.empty());
    // A node does not make Python's errors.
    CHECK(ruled(suspecting(failure("py-error"), "n3", false), facts).avoid.empty());
}

TEST_CASE("ruling: the first failure waits for nothing, each further one twice as long, up to a limit and with jitter") {
    Recovery recovery;
    recovery.backoff = std::chrono::seconds{4};
    recovery.backoff_max = std::chrono::seconds{60};
    const auto hang = failure("hang");
    const auto wait = [&](std::size_t before, double chance) {
        RulingFacts facts = after(std::vector<Failure>(before, failure("peer-died")));
        facts.chance = chance;
        return ruled(hang, facts, recovery).wait_s;
    };
    CHECK(wait(0, 0.5) == 0);
    CHECK(wait(1, 0) == 2);
    CHECK(wait(1, 1) == 4);
    CHECK(wait(2, 1) == 8);
    CHECK(wait(3, 0) == 8);
    CHECK(wait(100, 1) == 60);
}

TEST_CASE("ruling: after a NaN the run goes back if that is asked for, further the second time, and then stops") {
    Recovery recovery;
    recovery.rollback_on_nan = 2;
    const auto nan = failure("nan-loss", "loss is NaN");
    CHECK(ruled(nan).ruling == RulingKind::stop);
    CHECK(ruled(nan, {}, recovery).ruling == RulingKind::restart_in_place);
    CHECK(ruled(nan, {}, recovery).roll_back == 2);
    CHECK(ruled(nan, after({nan}), recovery).roll_back == 4);
    CHECK(ruled(nan, after({nan, nan}), recovery).ruling == RulingKind::stop);
    CHECK(ruled(failure("py-error", "x"), {}, recovery).roll_back == 0);
}

TEST_CASE("ruling: a class that nobody knows any more counts as unknown") {
    auto old = failure("unknown");
    old.failure_class = "a class of another version";
    CHECK(ruled(old).ruling == RulingKind::restart_in_place);
}

TEST_CASE("ruling: the failures that count are those since the newest checkpoint, without forgiven ones") {
    const auto attempt = [](int no, std::optional<std::int64_t> checkpoint, std::vector<const char *> classes) {
        AttemptView view{};
        view.no = AttemptNo{no};
        auto &outcome = view.outcome.emplace();
        outcome.checkpoint_step = checkpoint;
        for (const char *name : classes) {
            outcome.history.push_back(failure(name));
            outcome.history.back().attempt = no;
        }
        return view;
    };
    const auto names = [](const RunView &run) {
        std::string text;
        for (const auto &failure : failures_without_progress(run))
            text += (text.empty() ? "" : " ") + failure.failure_class;
        return text;
    };
    RunView run;
    run.attempts = {attempt(1, 10, {"hang"}), attempt(2, 10, {"killed", "hang"})};
    CHECK(names(run) == "hang killed hang");
    run.attempts.push_back(attempt(3, 20, {"peer-died"})); // it made a newer one, and then failed
    CHECK(names(run) == "peer-died");
    run.attempts.push_back(attempt(4, 20, {"killed"}));
    run.attempts.back().outcome->history.insert(run.attempts.back().outcome->history.begin(), run.attempts[2].outcome->history.back());
    CHECK(names(run) == "peer-died killed"); // what it knew of the one before it counts once
    run.forgiven = AttemptNo{3};
    CHECK(names(run) == "killed");
}
