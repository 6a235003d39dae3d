#include "failure/book.h"

#include "builtin_data.h"
#include "failure/literals.h"

#include <doctest/doctest.h>
#include <set>

using namespace trainctl;

namespace {

std::string problems_of(const std::string &text) {
    const auto book = with_rules(builtin_failures(), text, "mine.yaml");
    return book.ok() ? "" : book.error().message;
}

} // namespace

TEST_CASE("book: the built-in files have no problem, and each says who prints what and what to do") {
    FailureBook book;
    CHECK(add_rules(book, builtin_data("failure_classes.yaml"), "failure_classes.yaml").empty());
    CHECK(add_rules(book, builtin_data("failure_rules.yaml"), "failure_rules.yaml").empty());
    std::set<std::string> used, causes;
    for (const auto &rule : book.rules) {
        CAPTURE(rule.name);
        CHECK(!rule.program.empty());
        if (rule.role == RuleRole::root)
            CHECK(!rule.hint.empty());
        used.insert(rule.failure_class);
    }
    for (const auto &one : book.classes) {
        CAPTURE(one.name);
        CHECK(!one.what.empty());
        CHECK(!one.why.empty());
        CHECK(used.count(one.name) == 1);
        for (const auto &cause : one.causes)
            CHECK(causes.insert(cause).second);
    }
}

TEST_CASE("book: no built-in pattern is without a word of six letters, which lets most lines be skipped") {
    std::vector<std::string> patterns, names;
    for (const auto &rule : builtin_failures().rules)
        if (!rule.pattern.empty() && rule.role != RuleRole::progress) {
            patterns.push_back(rule.pattern);
            names.push_back(rule.name);
        }
    const LiteralFinder finder(patterns);
    for (const int index : finder.unfiltered())
        MESSAGE(names[static_cast<std::size_t>(index)]);
    CHECK(finder.unfiltered().empty());
    CHECK(finder.searched_alone() == 0);
}

TEST_CASE("book: a rule of a known name changes what it gives and keeps the rest; others are added") {
    const auto book = with_rules(builtin_failures(), "rules:\n  - name: enospc\n    severity: 12\n  - name: mine\n    pattern: 'flux capacitor empty'\n"
                                                     "    class: storage-io\nclasses:\n  - name: py-error\n    action: retry-once\n", "mine.yaml");
    REQUIRE(book.ok());
    const auto *known = builtin_failures().find_rule("enospc"), *changed = book->find_rule("enospc");
    CHECK(changed->severity == 12);
    CHECK(changed->pattern == known->pattern);
    CHECK(changed->certainty == known->certainty);
    CHECK(book->rules.size() == builtin_failures().rules.size() + 1);
    CHECK(book->find_rule("mine")->role == RuleRole::root);
    CHECK(book->find_class("py-error")->action == FailureAction::retry_once);
    CHECK(book->find_class("py-error")->why == builtin_failures().find_class("py-error")->why);
}

TEST_CASE("book: every mistake is told with its place") {
    struct Case { const char *text, *problem; };
    for (const auto &[text, problem] : {
             Case{"rules:\n  - name: a\n    pattern: '('\n    class: hang\n", "mine.yaml:3:14: RE2 does not take this pattern"},
             Case{"rules:\n  - name: a\n    pattern: 'x|'\n    class: hang\n", "mine.yaml:3:14: this pattern matches every line"},
             Case{"rules:\n  - name: a\n    pattern: 'caf\xc3\xa9'\n    class: hang\n", "mine.yaml:3:14: a pattern is made of ASCII"},
             Case{"rules:\n  - name: a\n    pattern: abc\n    class: hangs\n", "mine.yaml:2:5: there is no class 'hangs' (rule 'a'); did you mean 'hang'?"},
             Case{"rules:\n  - name: a\n    class: hang\n", "mine.yaml:2:5: rule 'a' needs a pattern or a fact"},
             Case{"rules:\n  - name: a\n    pattern: abc\n    class: hang\n    role: boot\n", "mine.yaml:5:11: 'role' can't be 'boot': one of root, cascade"},
             Case{"rules:\n  - name: a\n    pattern: abc\n    class: hang\n    severity: 101\n", "mine.yaml:5:15: 'severity' must be a whole number from 1 to 100"},
             Case{"rules:\n  - name: a\n    pattern: abc\n    class: hang\n    sevrity: 10\n", "mine.yaml:5:5: there is no key 'sevrity' here; did you mean 'severity'?"},
             Case{"rules:\n  - name: a\n    pattern: abc\n    class: hang\n    needs: [nobody]\n", "rule 'a' names 'nobody', and there is no such rule"},
             Case{"rules:\n  - name: a\n    pattern: [b]\n    class: hang\n", "mine.yaml:3:14: 'pattern' can't be a list"},
             Case{"rules: 12\n", "mine.yaml:1:8: 'rules' must be a list"},
             Case{"rule:\n  - name: a\n", "mine.yaml:1:1: there is no key 'rule' here"},
             Case{"- a\n", "mine.yaml:1:1: there is no list 'rules'"},
             Case{"", "mine.yaml:1:1: there is no list 'rules'"},
         }) {
        CAPTURE(text);
        const auto got = problems_of(text);
        CAPTURE(got);
        CHECK(got.find(problem) != std::string::npos);
    }
}
