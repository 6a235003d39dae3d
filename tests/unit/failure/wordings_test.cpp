// Real lines of many programs and versions (wordings.tsv), and made-up logs (stories.txt): data, one case in each line or block.
#include "logs.h"

#include "base/files.h"
#include "base/text.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <set>

using namespace trainctl;

namespace {

std::string data(const std::string &name) {
    auto text = PosixFiles{}.read(std::string{TRAINCTL_SOURCE_DIR} + "/tests/unit/failure/" + name);
    REQUIRE(text.ok());
    REQUIRE(text->has_value());
    return **text;
}

} // namespace

TEST_CASE("wordings: each line is matched by its rule, by the set and by the filter before it alike") {
    auto &matcher = builtin_matcher();
    const auto &rules = builtin_failures().rules;
    std::vector<int> by_set, filtered, maybe;
    std::vector<LiteralFinder::Mark> marks;
    std::set<std::string> with_wording;
    auto lines = split_lines(data("wordings.tsv"));
    lines.erase(lines.begin());
    for (const auto &row : lines) {
        CAPTURE(row);
        const auto tab = row.find('\t');
        REQUIRE(tab != std::string::npos);
        const auto name = row.substr(0, tab), line = row.substr(tab + 1);
        with_wording.insert(name);
        matcher.match_all(line, by_set);
        bool found = false;
        for (const int index : by_set)
            found = found || rules[static_cast<std::size_t>(index)].name == name;
        CHECK(found);
        matcher.literals().find(line, marks);
        maybe.clear();
        for (const auto &mark : marks)
            for (const int pattern : matcher.literals().patterns_of(mark.literal))
                if (std::find(maybe.begin(), maybe.end(), pattern) == maybe.end())
                    maybe.push_back(pattern);
        matcher.match(line, maybe, filtered);
        if (!filtered.empty()) {
            CHECK(filtered == by_set);
            continue;
        }
        // Where the filter lets nothing through, only progress may be left.
        for (const int index : by_set)
            CHECK(rules[static_cast<std::size_t>(index)].role == RuleRole::progress);
        CHECK(matcher.is_progress(line) == !by_set.empty());
    }
    for (const auto &rule : rules)
        if (!rule.pattern.empty() && rule.role != RuleRole::context && rule.role != RuleRole::finish) {
            CAPTURE(rule.name);
            CHECK(with_wording.count(rule.name) == 1);
        }
}

TEST_CASE("stories: each made-up log is judged as its author meant it") {
    int stories = 0;
    for (const auto &block : split("\n" + data("stories.txt"), '\0')) {
        std::size_t at = 0;
        while ((at = block.find("\n### ", at)) != std::string::npos) {
            const auto end = block.find('\n', at + 5);
            const auto next = block.find("\n### ", end);
            const auto wanted = std::string{trim(block.substr(at + 5, end - at - 5))};
            const auto text = block.substr(end + 1, next == std::string::npos ? std::string::npos : next - end);
            CAPTURE(text);
            const auto got = diagnosed(text);
            CAPTURE(got.evidence.size() > 0 ? got.evidence[0].rule : "");
            CHECK(got.failure_class == wanted);
            ++stories;
            at = end;
        }
    }
    CHECK(stories >= 80);
}
