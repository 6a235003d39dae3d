#include "snapshot/exclude.h"

#include <doctest/doctest.h>

namespace trainctl {

namespace {

bool matches(const std::string &pattern, const std::string &path, bool is_directory = false) {
    const auto parsed = ExcludePatterns::parse({pattern});
    REQUIRE_MESSAGE(parsed.ok(), pattern);
    return parsed->matches(path, is_directory);
}

} // namespace

TEST_CASE("exclude: patterns mean what they mean in .gitignore") {
    struct Case {
        std::string pattern, path;
        bool is_directory, match;
    };
    const std::vector<Case> cases = {
        {"*.pt", "a.pt", false, true},
        {"*.pt", "deep/er/a.pt", false, true},
        {"*.pt", "a.pt/inside", false, true},
        {"*.pt", "a.ptx", false, false},
        {"data", "data", false, true},
        {"data", "x/data/y", false, true},
        {"data", "database", false, false},
        {"data/", "data", false, false},
        {"data/", "data", true, true},
        {"data/", "x/data/y", false, true},
        {"/data", "data/x", false, true},
        {"/data", "x/data", false, false},
        {"a/b", "a/b", false, true},
        {"a/b", "a/b/c", false, true},
        {"a/b", "x/a/b", false, false},
        {"a/*", "a/b", false, true},
        {"a/*", "a", true, false},
        {"a/*.txt", "a/b/c.txt", false, false},
        {"**/b", "b", false, true},
        {"**/b", "x/y/b/z", false, true},
        {"a/**/b", "a/b", false, true},
        {"a/**/b", "a/x/y/b", false, true},
        {"a/**/b", "x/a/b", false, false},
        {"a/**", "a/x/y", false, true},
        {"a/**", "a", true, false},
        {"a/**/**/**/b", "a/b", false, true},
        {"[ab]?.py", "ax.py", false, true},
        {"[!ab]?.py", "ax.py", false, false},
        {".*", ".venv/x", false, true},
        {"*", ".hidden", false, true},
    };
    for (const auto &[pattern, path, is_directory, match] : cases) {
        CAPTURE(pattern);
        CAPTURE(path);
        CHECK(matches(pattern, path, is_directory) == match);
    }
}

TEST_CASE("exclude: many stars in a row take no time") {
    std::string pattern = "x", path = "x";
    for (int i = 0; i < 40; ++i)
        pattern += "/**";
    for (int i = 0; i < 40; ++i)
        path += "/y";
    CHECK_FALSE(matches(pattern + "/z", path));
}

TEST_CASE("exclude: what is not in the subset is refused") {
    for (const std::string pattern : {"!keep.py", "/", "", "//"}) {
        CAPTURE(pattern);
        const auto parsed = ExcludePatterns::parse({"*.pt", pattern});
        REQUIRE_FALSE(parsed.ok());
        CHECK(parsed.error().kind == ErrorKind::invalid);
        CHECK(parsed.error().where == "code.exclude");
    }
}

} // namespace trainctl
