#include "failure/decide.h"

#include "failure/clues.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace trainctl {

namespace {

constexpr std::int64_t survived = 5;    // lines of progress after an error that show that the run outlived it
constexpr std::int64_t moment_lines = 50;
constexpr double moment_s = 30;
constexpr int clause_severity = 83;     // Slurm says why it ended the job, and not only that it did
constexpr int step_severity = 50;       // below: only a step was cancelled, which srun -K does after any failure
constexpr int exit_severity = 14;       // wrappers from here on tell of a process that ended badly, not of one that was ended
constexpr int teardown_severity = 70;   // words below it are printed by processes that are being ended, too
constexpr int first_echo_severity = 28; // from here on an echo shows that the failure had begun
constexpr int heavy_echo_severity = 40;
constexpr int proof_margin = 10;        // how much heavier a later proof must be
constexpr std::int64_t hang_s = 1800;   // shorter silences are evaluations and saves
constexpr int hang_times = 3;
constexpr std::size_t max_evidence = 8, max_rejected = 24;
constexpr std::int64_t nowhere = std::numeric_limits<std::int64_t>::max();

bool is_root(const WeighedClue &clue) { return clue.rule->role == RuleRole::root && !clue.rule->terminal; }
bool is_echo(const WeighedClue &clue) { return clue.rule->role == RuleRole::cascade || clue.rule->role == RuleRole::wrapper; }
bool is_known(const WeighedClue &clue) { return clue.failure_class->name != "unknown"; }

// What interpreters print while they end, whatever became of the training; and a step that is cancelled behind them.
bool is_noise_at_exit(const FailureRule &rule) {
    const bool light_echo = rule.role == RuleRole::cascade && rule.severity < heavy_echo_severity;
    return rule.certainty == Certainty::weak && (rule.fallback || light_echo || rule.terminal);
}

double by_certainty(const WeighedClue &clue, double proof, double strong, double weak) {
    switch (clue.rule->certainty) {
    case Certainty::proof: return proof;
    case Certainty::strong: return strong;
    case Certainty::weak: return weak;
    }
    return weak;
}

using Clues = std::vector<const WeighedClue *>;

class Decision {
public:
    Decision(const FailureBook &book, const Evidence &evidence) : book_(book), evidence_(evidence), all_(weigh(book, evidence)) {}

    Diagnosis made() {
        keep_what_was_not_outlived();
        if (const auto *last = last_words(); last != nullptr && slurm_ended_it(*last))
            return decided(*last, by_certainty(*last, .97, .8, .6));
        if (const auto *root = first_root())
            return decided(*root, by_certainty(*root, .95, .85, .55));
        if (const auto *echo = best_echo())
            return decided(*echo, echo->rule->role == RuleRole::cascade ? .5 : .35);
        if (!last_words_.empty())
            return decided(*last_words(), .5);
        if (!echoes_.empty())
            return unknown();
        return silence();
    }

private:
    void keep_what_was_not_outlived() {
        for (const auto &clue : all_) {
            if (clue.progress_after >= survived)
                reject(clue, fmt::format("the run went on: {} lines of progress after it", clue.progress_after));
            else if (clue.after_finish && is_noise_at_exit(*clue.rule))
                reject(clue, "the program had said that it was done");
            else if (is_root(clue))
                roots_.push_back(&clue);
            else if (is_echo(clue))
                echoes_.push_back(&clue);
            else if (clue.rule->terminal)
                last_words_.push_back(&clue);
        }
    }

    const WeighedClue *last_words() const {
        const auto at = std::max_element(last_words_.begin(), last_words_.end(), [](const auto *a, const auto *b) {
            return a->rule->severity < b->rule->severity; // of equal ones the first
        });
        return at == last_words_.end() ? nullptr : *at;
    }

    // Whether Slurm's own end of the job is the cause. Otherwise what can't be is dropped from roots and echoes.
    bool slurm_ended_it(const WeighedClue &last) {
        const auto first = last_words_.front()->place;
        const bool clause = last.rule->severity >= clause_severity;
        drop(roots_, "what ended the job weighs more", [&](const WeighedClue &root) {
            if (root.proven_beyond_rank() && root.rule->severity > last.rule->severity)
                return false;
            const bool no_teardown = root.rule->certainty != Certainty::weak && root.rule->severity >= teardown_severity;
            return root.place >= first || (clause && !no_teardown);
        });
        const auto before = [&](auto &&wanted) {
            return std::any_of(echoes_.begin(), echoes_.end(), [&](const auto *echo) { return echo->place < first && wanted(*echo); });
        };
        const bool failed_before = before([](const auto &echo) { return echo.rule->severity >= step_severity; });
        const bool is_itself_echo = last.rule->severity < step_severity && before([](const auto &echo) {
            return echo.rule->role == RuleRole::wrapper && (is_known(echo) || echo.rule->severity >= exit_severity);
        });
        if (roots_.empty() && (clause || !failed_before) && !is_itself_echo)
            return true;
        drop(echoes_, "it came with the end of the job", [&](const WeighedClue &echo) {
            return echo.rule->role == RuleRole::cascade && (clause || echo.place >= first);
        });
        return false;
    }

    const WeighedClue *first_root() {
        auto first_echo = nowhere;
        for (const auto *echo : echoes_)
            if (echo->rule->role == RuleRole::cascade && echo->rule->severity >= first_echo_severity)
                first_echo = std::min(first_echo, echo->place);
        drop(roots_, "an echo of what failed before it", [&](const WeighedClue &root) {
            return root.rule->certainty == Certainty::weak && root.rule->fallback && root.place > first_echo;
        });
        const bool sure = std::any_of(roots_.begin(), roots_.end(), [](const auto *root) { return root->rule->certainty != Certainty::weak; });
        if (sure)
            drop(roots_, "a surer cause was found", [](const WeighedClue &root) { return root.rule->certainty == Certainty::weak; });
        std::stable_sort(roots_.begin(), roots_.end(), [](const auto *a, const auto *b) {
            return std::pair{a->place, -a->rule->severity} < std::pair{b->place, -b->rule->severity};
        });
        const WeighedClue *best = nullptr;
        for (const auto *root : roots_) {
            if (best == nullptr) {
                best = root;
                continue;
            }
            if (root->failure_class == best->failure_class)
                continue;
            const bool heavier = root->rule->severity > best->rule->severity && same_moment(*best, *root);
            const bool proof = root->proven_beyond_rank() && root->rule->severity >= best->rule->severity + proof_margin;
            if (!heavier && !proof) {
                reject(*root, "later, and an effect as far as can be told");
                continue;
            }
            reject(*best, fmt::format("{} weighs more", root->rule->name));
            best = root;
        }
        return best;
    }

    static bool same_moment(const WeighedClue &earlier, const WeighedClue &later) {
        if (earlier.at && later.at)
            return *later.at - *earlier.at <= moment_s;
        return earlier.log == later.log && earlier.log != WeighedClue::no_log && later.shown.line - earlier.shown.line <= moment_lines;
    }

    // Nothing but echoes: the first of weight, else the heaviest.
    const WeighedClue *best_echo() const {
        const WeighedClue *best = nullptr;
        for (const auto *echo : echoes_) {
            if (!is_known(*echo))
                continue;
            const bool heavy = echo->rule->severity >= heavy_echo_severity;
            const bool best_heavy = best != nullptr && best->rule->severity >= heavy_echo_severity;
            if (best == nullptr || (heavy && !best_heavy) || (!heavy && !best_heavy && echo->rule->severity > best->rule->severity))
                best = echo;
        }
        return best;
    }

    Diagnosis decided(const WeighedClue &best, double confidence) {
        Diagnosis out;
        fill(out, *best.failure_class, confidence);
        out.made_progress = best.progress_before > 0;
        if (best.rule->restart)
            out.restart = *best.rule->restart;
        if (out.restart == RestartKind::deterministic_before_progress)
            out.restart = out.made_progress ? RestartKind::transient : RestartKind::deterministic;
        if (out.restart != best.failure_class->restart)
            out.action = action_for(out.restart, out.action);
        out.hint = best.rule->hint;
        out.evidence.push_back(best.shown);
        for (const auto &clue : all_)
            if (&clue != &best && clue.failure_class == best.failure_class && clue.progress_after < survived &&
                out.evidence.size() < max_evidence)
                out.evidence.push_back(clue.shown);
        suspect(out, best);
        return finished(std::move(out));
    }

    static FailureAction action_for(RestartKind kind, FailureAction otherwise) {
        switch (kind) {
        case RestartKind::deterministic: return FailureAction::stop;
        case RestartKind::node_fault: return FailureAction::without_node;
        case RestartKind::transient:
        case RestartKind::resource: return FailureAction::retry_once;
        case RestartKind::none:
        case RestartKind::deterministic_before_progress: return otherwise;
        }
        return otherwise;
    }

    Diagnosis unknown() {
        Diagnosis out;
        fill(out, *book_.find_class("unknown"), .2);
        for (const auto *echo : echoes_)
            if (out.evidence.size() < max_evidence)
                out.evidence.push_back(echo->shown);
        out.made_progress = echoes_.front()->progress_before > 0;
        return finished(std::move(out));
    }

    // Nothing says that it failed. A log whose clock runs on without progress is one that hangs.
    Diagnosis silence() {
        Diagnosis out;
        for (const auto &log : evidence_.logs) {
            out.made_progress = out.made_progress || log.progress > 0;
            if (log.late_times < hang_times || log.last_late - log.first_late < hang_s || log.last_finish_line > log.last_progress_line)
                continue;
            fill(out, *book_.find_class("hang"), .5);
            out.evidence.push_back({"", "hang", log.file, log.last_progress_line, 1,
                                    fmt::format("the last progress; the log goes on for {} minutes after it", (log.last_late - log.first_late) / 60)});
            return finished(std::move(out));
        }
        fill(out, *book_.find_class("none"), .6);
        return finished(std::move(out));
    }

    void fill(Diagnosis &out, const FailureClass &found, double confidence) const {
        out.failure_class = found.name;
        out.action = found.action;
        out.restart = found.restart;
        out.confidence = confidence;
        out.what = found.what;
    }

    void suspect(Diagnosis &out, const WeighedClue &best) const {
        const auto kind = best.rule->suspects;
        if (kind != Suspect::node && kind != Suspect::rank && kind != Suspect::peer && kind != Suspect::network && !is_echo(best))
            return;
        const bool proven = kind == Suspect::node && best.rule->certainty == Certainty::proof;
        const auto add = [&](const WeighedClue &clue, const std::string &why) {
            if (clue.node.empty() && !clue.rank)
                return;
            for (const auto &known : out.suspects)
                if (known.node == clue.node && known.rank == clue.rank)
                    return;
            const auto times = std::count_if(evidence_.earlier.begin(), evidence_.earlier.end(), [&](const auto &earlier) {
                return std::find(earlier.suspect_nodes.begin(), earlier.suspect_nodes.end(), clue.node) != earlier.suspect_nodes.end();
            });
            out.suspects.push_back({clue.node, clue.rank, why, proven, static_cast<int>(clue.node.empty() ? 0 : times)});
        };
        if (!is_echo(best) || best.log == WeighedClue::no_log)
            add(best, best.shown.text);
        for (const auto &clue : all_)
            if (clue.rule == best.rule && !is_echo(best) && clue.progress_after < survived)
                add(clue, clue.shown.text);
        if (!out.suspects.empty() || evidence_.deaths.empty())
            return;
        const auto first = std::find_if(all_.begin(), all_.end(), [](const auto &clue) { return clue.log == WeighedClue::no_log && clue.rank; });
        if (first != all_.end())
            add(*first, "the first rank to die");
    }

    void drop(Clues &clues, const std::string &why, const auto &unwanted) {
        std::erase_if(clues, [&](const auto *clue) {
            if (!unwanted(*clue))
                return false;
            reject(*clue, why);
            return true;
        });
    }

    void reject(const WeighedClue &clue, std::string why) { rejected_.push_back({clue.shown, std::move(why)}); }

    // Each rule that was rejected is told once; what decided, never.
    Diagnosis finished(Diagnosis out) {
        for (const auto *echo : echoes_)
            if (out.evidence.empty() || echo->failure_class->name != out.failure_class)
                if (std::none_of(out.evidence.begin(), out.evidence.end(), [&](const auto &clue) { return clue.rule == echo->rule->name; }))
                    reject(*echo, "an echo: it does not say what began");
        for (auto &one : rejected_) {
            const auto known = std::find_if(out.rejected.begin(), out.rejected.end(), [&](const auto &other) {
                return other.clue.rule == one.clue.rule && other.clue.source == one.clue.source && other.why == one.why;
            });
            if (known != out.rejected.end())
                known->clue.count += one.clue.count;
            else if (out.rejected.size() < max_rejected)
                out.rejected.push_back(std::move(one));
        }
        return out;
    }

    const FailureBook &book_;
    const Evidence &evidence_;
    std::vector<WeighedClue> all_;
    Clues roots_, echoes_, last_words_;
    std::vector<RejectedClue> rejected_;
};

} // namespace

Diagnosis decide(const FailureBook &book, const Evidence &evidence) { return Decision(book, evidence).made(); }

} // namespace trainctl
