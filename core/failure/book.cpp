#include "failure/book.h"

#include "base/invariant.h"
#include "base/text.h"
#include "builtin_data.h"
#include "failure/pattern.h"
#include "failure/rule_entry.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <re2/re2.h>
#include <utility>

namespace trainctl {

namespace {

const RuleWords<RuleRole> roles{{"root", RuleRole::root}, {"cascade", RuleRole::cascade}, {"wrapper", RuleRole::wrapper},
                                {"benign", RuleRole::benign}, {"context", RuleRole::context},
                                {"progress", RuleRole::progress}, {"finish", RuleRole::finish}};
const RuleWords<RuleScope> scopes{{"rank", RuleScope::rank}, {"node", RuleScope::node}, {"run", RuleScope::run}};
const RuleWords<Certainty> certainties{{"weak", Certainty::weak}, {"strong", Certainty::strong}, {"proof", Certainty::proof}};
const RuleWords<Suspect> suspects{{"none", Suspect::none}, {"rank", Suspect::rank}, {"node", Suspect::node},
                                  {"code", Suspect::code}, {"config", Suspect::config}, {"data", Suspect::data},
                                  {"storage", Suspect::storage}, {"network", Suspect::network}, {"peer", Suspect::peer}};
const RuleWords<FailureAction> actions{{"none", FailureAction::none}, {"restart-in-place", FailureAction::restart_in_place},
                                       {"without-node", FailureAction::without_node}, {"hand-over", FailureAction::hand_over},
                                       {"retry-once", FailureAction::retry_once}, {"stop", FailureAction::stop}};
const RuleWords<RestartKind> kinds{{"n/a", RestartKind::none}, {"deterministic", RestartKind::deterministic},
                                   {"node-fault", RestartKind::node_fault}, {"resource", RestartKind::resource},
                                   {"transient", RestartKind::transient},
                                   {"deterministic-before-progress", RestartKind::deterministic_before_progress}};

template <class T> const char *word_for(const RuleWords<T> &words, T value) {
    const auto at = std::find_if(words.begin(), words.end(), [&](const auto &one) { return one.second == value; });
    INVARIANT(at != words.end());
    return at->first.data();
}

template <class T> T *named(std::vector<T> &all, std::string_view name) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const T &one) { return one.name == name; });
    return at == all.end() ? nullptr : &*at;
}

std::string wrong_with_pattern(const std::string &pattern) {
    const auto plain = [](char byte) { return static_cast<unsigned char>(byte) < 0x80; };
    if (!std::all_of(pattern.begin(), pattern.end(), plain))
        return "a pattern is made of ASCII characters: lines are matched byte by byte";
    const RE2 compiled(pattern, pattern_options());
    if (!compiled.ok())
        return fmt::format("RE2 does not take this pattern: {}", compiled.error());
    return RE2::PartialMatch("", compiled) ? "this pattern matches every line" : "";
}

void read_rule(RuleEntry &entry, FailureRule &rule) {
    entry.text("name", rule.name);
    entry.text("pattern", rule.pattern, wrong_with_pattern);
    entry.text("fact", rule.fact);
    entry.text("class", rule.failure_class);
    entry.text("program", rule.program);
    entry.text("hint", rule.hint);
    entry.text("extract", rule.extract, wrong_with_pattern);
    entry.choice("role", roles, rule.role);
    entry.choice("scope", scopes, rule.scope);
    entry.choice("suspects", suspects, rule.suspects);
    entry.choice("certainty", certainties, rule.certainty);
    entry.number("severity", rule.severity, 1, 100);
    entry.texts("suppresses", rule.suppresses);
    entry.texts("needs", rule.needs);
    entry.texts("unless", rule.unless);
    entry.number("within", rule.within, 0, 1'000'000'000);
    entry.number("repeat", rule.repeat, 1, 1'000'000);
    entry.flag("terminal", rule.terminal);
    entry.flag("fallback", rule.fallback);
    entry.choice("restart", kinds, rule.restart);
    entry.no_others();
}

void read_class(RuleEntry &entry, FailureClass &out) {
    entry.text("name", out.name);
    entry.text("group", out.group);
    entry.text("what", out.what);
    entry.text("why", out.why);
    entry.choice("action", actions, out.action);
    entry.choice("restart", kinds, out.restart);
    entry.flag("free", out.free);
    entry.number("budget", out.budget, 0, 1000);
    entry.texts("causes", out.causes);
    entry.no_others();
}

// Reads the items of a list into `all`; what is complete is for `check` to say.
template <class T>
void read_list(const YamlNode &root, const char *key, const std::string &file, std::vector<std::string> &problems,
               std::vector<T> &all, void (*read)(RuleEntry &, T &), const std::function<void(RuleEntry &, const T &)> &check) {
    const auto *list = root.find(key);
    if (list == nullptr)
        return;
    for (const auto &item : list->value.items) {
        const auto *name = item.find("name");
        T *known = name == nullptr ? nullptr : named(all, name->value.text);
        T one = known == nullptr ? T{} : *known;
        RuleEntry entry{item, file, problems};
        read(entry, one);
        check(entry, one);
        if (known == nullptr)
            all.push_back(std::move(one));
        else
            *known = std::move(one);
    }
    if (list->value.kind != YamlNode::Kind::list)
        problems.push_back(fmt::format("{}:{}:{}: '{}' must be a list", file, list->value.at.line, list->value.at.col, key));
}

void check_rule(const FailureBook &book, RuleEntry &entry, const FailureRule &rule) {
    if (rule.name.empty())
        entry.problem("a rule needs a name");
    else if (rule.pattern.empty() == rule.fact.empty())
        entry.problem(fmt::format("rule '{}' needs a pattern or a fact, and not both", rule.name));
    if (!rule.name.empty() && book.find_class(rule.failure_class) == nullptr) {
        std::vector<std::string> names;
        for (const auto &one : book.classes)
            names.push_back(one.name);
        const auto meant = did_you_mean(rule.failure_class, names);
        entry.problem(fmt::format("there is no class '{}' (rule '{}'){}", rule.failure_class, rule.name,
                                  meant.empty() ? "" : "; did you mean '" + meant + "'?"));
    }
}

// Names of rules that rules lean on; known only when all are read.
void check_names(const FailureBook &book, const std::string &file, std::vector<std::string> &problems) {
    for (const auto &rule : book.rules)
        for (const auto *names : {&rule.needs, &rule.unless, &rule.suppresses})
            for (const auto &name : *names)
                if (book.find_rule(name) == nullptr && !(name == "all" && names == &rule.suppresses))
                    problems.push_back(fmt::format("{}: rule '{}' names '{}', and there is no such rule", file, rule.name, name));
}

} // namespace

const char *to_string(FailureAction action) { return word_for(actions, action); }
const char *to_string(RestartKind kind) { return word_for(kinds, kind); }

const FailureClass *FailureBook::find_class(std::string_view name) const {
    const auto at = std::find_if(classes.begin(), classes.end(), [&](const auto &one) { return one.name == name; });
    return at == classes.end() ? nullptr : &*at;
}

const FailureRule *FailureBook::find_rule(std::string_view name) const {
    const auto at = std::find_if(rules.begin(), rules.end(), [&](const auto &one) { return one.name == name; });
    return at == rules.end() ? nullptr : &*at;
}

const FailureRule *FailureBook::find_fact(std::string_view fact) const {
    const auto at = std::find_if(rules.begin(), rules.end(), [&](const auto &one) { return !one.fact.empty() && one.fact == fact; });
    return at == rules.end() ? nullptr : &*at;
}

std::vector<std::string> add_rules(FailureBook &book, std::string_view text, const std::string &file) {
    std::vector<std::string> problems;
    const auto tree = parse_yaml(text);
    for (const auto &finding : tree.findings)
        problems.push_back(fmt::format("{}:{}:{}: {}", file, finding.at.line, finding.at.col, finding.message));
    if (tree.root.kind != YamlNode::Kind::map) {
        problems.push_back(fmt::format("{}:1:1: there is no list 'rules' here", file));
        return problems;
    }
    for (const auto &entry : tree.root.entries)
        if (entry.key != "rules" && entry.key != "classes" && entry.key != "format")
            problems.push_back(fmt::format("{}:{}:{}: there is no key '{}' here: rules or classes", file, entry.key_at.line,
                                           entry.key_at.col, entry.key));
    read_list<FailureClass>(tree.root, "classes", file, problems, book.classes, read_class, [](auto &entry, const auto &one) {
        if (one.name.empty())
            entry.problem("a class needs a name");
    });
    read_list<FailureRule>(tree.root, "rules", file, problems, book.rules, read_rule,
                           [&](auto &entry, const auto &rule) { check_rule(book, entry, rule); });
    check_names(book, file, problems);
    return problems;
}

Result<FailureBook> with_rules(FailureBook book, std::string_view text, const std::string &file) {
    if (const auto problems = add_rules(book, text, file); !problems.empty())
        return Error{ErrorKind::invalid, join(problems, "\n"), "", "templates/failure_rules.yaml has examples of every key"};
    return book;
}

const FailureBook &builtin_failures() {
    static const FailureBook book = [] {
        FailureBook out;
        for (const char *file : {"failure_classes.yaml", "failure_rules.yaml"}) {
            const auto problems = add_rules(out, builtin_data(file), file);
            INVARIANT(problems.empty());
        }
        return out;
    }();
    return book;
}

} // namespace trainctl
