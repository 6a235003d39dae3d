#include "recovery/ruling.h"

#include "recovery/policy.h"

#include "base/text.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr double sure = 0.7;              // below it a diagnosis stops no run at its first failure
constexpr std::size_t most_sign_bytes = 200;
constexpr int most_roll_backs = 2;        // an older checkpoint that fails as well is no cure
constexpr int most_doublings = 16;
constexpr int tries_on_evidence = 3;      // where the evidence changed what is done by default

// Without what differs from one time to the next: numbers, and addresses.
std::string without_numbers(std::string_view text) {
    constexpr std::string_view digits = "0123456789", hex_digits = "0123456789abcdefABCDEF";
    std::string out;
    for (std::size_t i = 0; i < text.size() && out.size() < most_sign_bytes;) {
        if (digits.find(text[i]) == std::string_view::npos) {
            out += text[i++];
            continue;
        }
        const bool hex = text.substr(i, 2) == "0x";
        i = std::min(text.size(), text.find_first_not_of(hex ? hex_digits : digits, i + (hex ? 2 : 1)));
        out += '#';
    }
    return out;
}

std::string sign_of(const Failure &failure) {
    const auto from_log = std::find_if(failure.evidence.begin(), failure.evidence.end(), [](const auto &clue) { return clue.line > 0; });
    return from_log == failure.evidence.end() ? "" : failure.failure_class + ": " + without_numbers(from_log->text);
}

FailureClue kept(const Clue &clue, const std::string &why_not = "") {
    return {clue.source, clue.line, clue.text.substr(0, most_clue_bytes), clue.failure_class, why_not};
}

// Deciding about one failure.
class Judge {
public:
    Judge(const FailureBook &book, const Recovery &recovery, const RulingFacts &facts, Failure &failure)
        : recovery_(recovery), facts_(facts), failure_(failure), class_(book.find_class(failure.failure_class)) {
        if (class_ == nullptr)
            class_ = book.find_class("unknown");
        INVARIANT(class_ != nullptr);
    }

    void rule() {
        failure_.avoid = nodes_to_avoid();
        if (class_->free)
            return go_on("it costs nothing: " + class_->why);
        if (may_roll_back())
            return roll_back();
        if (const auto why = why_stop(); !why.empty()) {
            failure_.ruling = RulingKind::stop;
            failure_.reason = why;
            return;
        }
        if (!facts_.earlier.empty())
            failure_.wait_s = wait();
        go_on(class_->why);
    }

private:
    std::string why_stop() const {
        const bool stops = is(FailureAction::stop);
        const int before = of_class();
        if (stops && before == 0 && failure_.confidence >= sure && class_->budget.value_or(0) == 0)
            return "another try would end the same way (" + failure_.failure_class + "). " + class_->why;
        if (same_as_last())
            return fmt::format("the same error twice {}, and no newer checkpoint in between: it is deterministic",
                               failure_.step ? fmt::format("at step {}", *failure_.step) : std::string{"before the first step"});
        if (!class_->budget || !failure_.avoid.empty()) // what a node did is not the training's
            return "";
        // Not sure, or its evidence said that another try may do.
        const bool changed = !is(class_->action);
        const int budget = std::max(*class_->budget, stops ? 1 : changed ? tries_on_evidence : 0);
        return before < budget ? "" : fmt::format("{} of class {} without a newer checkpoint, and {} may be tried again",
                                                  counted(before + 1, "failure"), failure_.failure_class, counted(budget, "failure"));
    }

    void go_on(const std::string &why) {
        failure_.ruling = is(FailureAction::hand_over) ? RulingKind::hand_over : RulingKind::restart_in_place;
        failure_.reason = why;
        if (!failure_.avoid.empty())
            failure_.reason = "without " + join(failure_.avoid, ", ") + ". " + failure_.reason;
    }

    bool is(FailureAction action) const { return failure_.action == to_string(action); }
    bool is(RestartKind restart) const { return failure_.restart == to_string(restart); }

    int of_class() const {
        return static_cast<int>(std::count_if(facts_.earlier.begin(), facts_.earlier.end(),
                                              [&](const Failure &earlier) { return earlier.failure_class == failure_.failure_class; }));
    }

    // What may pass by itself at its beginning (a peer that is late, a name that is not found) is left to its budget.
    bool same_as_last() const {
        if (facts_.earlier.empty() || failure_.sign.empty() || is(RestartKind::node_fault))
            return false;
        const auto &last = facts_.earlier.back();
        return last.sign == failure_.sign && last.step == failure_.step && (failure_.step || !is(RestartKind::transient));
    }

    std::vector<std::string> nodes_to_avoid() const {
        std::vector<std::string> nodes;
        for (const auto &suspect : failure_.suspects) {
            if (suspect.node.empty() || std::find(nodes.begin(), nodes.end(), suspect.node) != nodes.end())
                continue;
            const auto before = facts_.named_before.find(suspect.node);
            const bool again = !is(RestartKind::deterministic) && before != facts_.named_before.end() && before->second > 0;
            const bool may_doubt = recovery_.avoid_for.count() > 0 && facts_.avoided < recovery_.avoid_max;
            if (suspect.proven || (again && may_doubt))
                nodes.push_back(suspect.node);
        }
        return nodes;
    }

    bool may_roll_back() const {
        return class_->group == "numeric" && recovery_.rollback_on_nan > 0 && of_class() < most_roll_backs;
    }

    void roll_back() {
        failure_.roll_back = recovery_.rollback_on_nan * (of_class() + 1);
        go_on(fmt::format("{} back, as recovery.rollback_on_nan says", counted(failure_.roll_back, "checkpoint")));
    }

    // Doubles with each failure in a row, and is spread by half of it, so that many runs do not come back at once.
    double wait() const {
        const auto doublings = std::min(static_cast<int>(facts_.earlier.size()) - 1, most_doublings);
        const double full = std::min(std::ldexp(static_cast<double>(recovery_.backoff.count()), doublings),
                                     static_cast<double>(recovery_.backoff_max.count()));
        return full * (0.5 + facts_.chance / 2);
    }

    const Recovery &recovery_;
    const RulingFacts &facts_;
    Failure &failure_;
    const FailureClass *class_;
};

} // namespace

Failure failure_of(const Diagnosis &diagnosis) {
    Failure failure;
    failure.failure_class = diagnosis.failure_class;
    failure.what = diagnosis.what;
    failure.hint = diagnosis.hint;
    failure.confidence = diagnosis.confidence;
    failure.action = to_string(diagnosis.action);
    failure.restart = to_string(diagnosis.restart);
    for (const auto &clue : diagnosis.evidence)
        if (failure.evidence.size() < most_kept_clues)
            failure.evidence.push_back(kept(clue));
    for (const auto &rejected : diagnosis.rejected)
        if (failure.rejected.size() < most_kept_clues)
            failure.rejected.push_back(kept(rejected.clue, rejected.why));
    for (const auto &suspect : diagnosis.suspects)
        failure.suspects.push_back({suspect.node, suspect.rank.value_or(-1), suspect.why, suspect.proven});
    failure.sign = sign_of(failure);
    return failure;
}

void rule_on(const FailureBook &book, const Recovery &recovery, const RulingFacts &facts, Failure &failure) {
    Judge{book, recovery, facts, failure}.rule();
}

std::vector<Failure> failures_without_progress(const RunView &run) {
    std::vector<Failure> failures;
    std::optional<std::int64_t> newest;
    for (const auto &attempt : run.attempts) {
        const auto step = checkpoint_step_of(attempt);
        if (step && (!newest || *step > *newest)) {
            newest = step;
            failures.clear();
        }
        if (attempt.no <= run.forgiven)
            continue;
        // Its head knew those of the attempts before, too.
        if (attempt.outcome)
            for (const auto &failure : attempt.outcome->history)
                if (failure.attempt == attempt.no.value)
                    failures.push_back(failure);
    }
    return failures;
}

} // namespace trainctl
