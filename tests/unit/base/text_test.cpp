#include "base/text.h"

#include "base/process.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("text: splitting, trimming, joining") {
    CHECK(split("a,,b", ',') == std::vector<std::string>{"a", "", "b"});
    CHECK(split("", ',') == std::vector<std::string>{""});
    CHECK(split_lines("a\r\nb\n\nc") == std::vector<std::string>{"a", "b", "", "c"});
    CHECK(split_lines("").empty());
    CHECK(trim(" \t a b\r\n") == "a b");
    CHECK(trim(" \n") == "");
    CHECK(join({"a", "b"}, ", ") == "a, b");
    CHECK(starts_with("abc", "ab"));
    CHECK(!starts_with("a", "ab"));
    CHECK(ends_with("abc", "bc"));
    CHECK(!ends_with("c", "bc"));
}

TEST_CASE("text: every word comes through a real shell as it is") {
    const std::vector<std::string> words{
        "plain", "", " ", "it's", "'", "''", "\\", "\\'", "$HOME", "$(echo x)", "`echo x`", "a\nb", "a\n", "\t", "*", "~", "~root",
        "{a,b}", "!x", "#x", "-n", "--", "a=b", "\"", "a\"b'c", "&& false", "; exit 3", "| cat", "> /dev/null", "\xff\xfe", "\x01\x7f",
        "\xc3\xa4\xe2\x82\xac", "%s%n", "a;b", "(x)", "[x]", "?", "x y  z", "\r",
    };
    std::string expected;
    for (const auto &word : words)
        expected += word + '\x02';
    const auto result = run_command({.argv = {"sh", "-c", "printf '%s\\002' " + shell_join(words)}, .input = ""});
    REQUIRE(result);
    CHECK(result->exit_code == 0);
    CHECK(result->out == expected);
}

TEST_CASE("text: safe words stay readable") {
    CHECK(shell_quote("/r/runs/gpt-1:a,b@c%d+e_f") == "/r/runs/gpt-1:a,b@c%d+e_f");
    CHECK(shell_quote("") == "''");
    CHECK(shell_quote("it's") == "'it'\\''s'");
    CHECK(shell_quote("a=b") == "'a=b'");
    CHECK(shell_quote("~") == "'~'");
}

TEST_CASE("text: did you mean") {
    const std::vector<std::string> keys{"nodes", "per_node", "partition", "checkpoint", "time"};
    struct Row { const char *word, *meant; };
    for (const auto &[word, meant] : {Row{"node", "nodes"}, Row{"ndoes", "nodes"}, Row{"partion", "partition"}, Row{"chekpiont", "checkpoint"},
                                      Row{"pernode", "per_node"}, Row{"tiem", "time"}, Row{"banana", ""}, Row{"x", ""}, Row{"", ""},
                                      Row{"time", "time"}}) {
        CAPTURE(word);
        CHECK(did_you_mean(word, keys) == meant);
    }
    CHECK(did_you_mean("x", {}) == "");
    CHECK(did_you_mean(std::string(100'000, 'a'), keys) == ""); // and it is quick
}

TEST_CASE("text: bytes that are no UTF-8 become a mark each, the rest stays") {
    const std::string mark = "\xef\xbf\xbd";
    struct Row { const char *name; std::string text, valid; };
    const std::vector<Row> rows{
        {"plain", "abc", "abc"},
        {"two, three and four bytes", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x80"},
        {"a lonely continuation", "a\x80z", "a" + mark + "z"},
        {"cut short at the end", "a\xe2\x82", "a" + mark + mark},
        {"cut short in the middle", "\xc3z", mark + "z"},
        {"overlong", "\xc0\xaf", mark + mark},
        {"overlong, three bytes", "\xe0\x80\xaf", mark + mark + mark},
        {"a surrogate", "\xed\xa0\x80", mark + mark + mark},
        {"beyond the last", "\xf4\x90\x80\x80", mark + mark + mark + mark},
        {"latin-1", "caf\xe9", "caf" + mark},
        {"a NUL stays", std::string("a\0b", 3), std::string("a\0b", 3)},
    };
    for (const auto &row : rows) {
        CAPTURE(row.name);
        CHECK(valid_utf8(row.text) == row.valid);
        CHECK(valid_utf8(row.valid) == row.valid);
    }
}

TEST_CASE("text: sizes for people") {
    CHECK(human_bytes(0) == "0 B");
    CHECK(human_bytes(999) == "999 B");
    CHECK(human_bytes(1000) == "1.0 kB");
    CHECK(human_bytes(1'500'000'000) == "1.5 GB");
    CHECK(human_bytes(820'000'000) == "820 MB");
    CHECK(human_bytes(999'600) == "1.0 MB");
}
