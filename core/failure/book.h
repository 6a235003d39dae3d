// What programs print when a run fails, and what that means: templates/failure_rules.yaml and failure_classes.yaml, and
// the user's own rules on top. Pure.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// root: names a cause. cascade: an echo of something else, until nothing earlier is found. wrapper: a launcher's summary of
// who ended how. benign: looks like an error and is none. context: no cause, but others lean on it. progress: the run goes
// on. finish: the program says that it is done.
enum class RuleRole { root, cascade, wrapper, benign, context, progress, finish };
enum class RuleScope { rank, node, run };
enum class Certainty { weak, strong, proof };
enum class Suspect { none, rank, node, code, config, data, storage, network, peer };

// What is done by default about a failure of a class.
enum class FailureAction { none, restart_in_place, without_node, hand_over, retry_once, stop };
const char *to_string(FailureAction action);
// Why a restart may help: nothing, another node, more of something, or another try. The fifth is for rules and classes
// only: deterministic where the run had made no progress yet, else transient.
enum class RestartKind { none, deterministic, node_fault, resource, transient, deterministic_before_progress };
const char *to_string(RestartKind kind);

struct FailureClass {
    std::string name, group, what, why; // what: one sentence for people; why: why this action
    FailureAction action = FailureAction::retry_once;
    RestartKind restart = RestartKind::transient;
    bool free = false;               // costs nothing of any budget
    std::optional<int> budget;       // failures in a row without a newer checkpoint; nothing: no limit
    std::vector<std::string> causes; // names that others use for it
    bool operator==(const FailureClass &) const = default;
};

// Matches lines by its pattern, or something that was observed by its fact (decide.h has them); never both.
struct FailureRule {
    std::string name, pattern, fact, failure_class, program, hint;
    std::string extract; // groups host, rank, ...: what of the line names who it happened to
    RuleRole role = RuleRole::root;
    RuleScope scope = RuleScope::rank;
    Suspect suspects = Suspect::none;
    Certainty certainty = Certainty::strong;
    int severity = 50;                   // which of the roots of one moment wins
    std::vector<std::string> suppresses; // other rules on the same line; "all"
    std::vector<std::string> needs;      // rules that matched before, or on the same line
    std::optional<std::int64_t> within;  // at most so many lines before
    std::vector<std::string> unless;     // rules that matched at most unless_lines before
    int repeat = 1;                      // counts from so many matches on
    bool terminal = false;               // Slurm's last words on a job or step
    bool fallback = false;               // only where no other rule knows the line
    std::optional<RestartKind> restart;  // another kind than the class's
    bool operator==(const FailureRule &) const = default;
};

inline constexpr int unless_lines = 40; // a traceback's length

struct FailureBook {
    std::vector<FailureRule> rules;
    std::vector<FailureClass> classes;

    const FailureClass *find_class(std::string_view name) const;
    const FailureRule *find_rule(std::string_view name) const;
    const FailureRule *find_fact(std::string_view fact) const;
};

// The built-in ones. An error in them is a programmer error: a test reads them.
const FailureBook &builtin_failures();

// With the rules and classes of `text` on top: one of a known name changes that one, keys that it does not give stay.
// Error: invalid, with all problems as file:line:col.
Result<FailureBook> with_rules(FailureBook book, std::string_view text, const std::string &file);

// As with_rules; the words of the problems, none where all is well. `book` is changed all the same.
std::vector<std::string> add_rules(FailureBook &book, std::string_view text, const std::string &file);

} // namespace trainctl
