#include "experiment/values.h"

#include <doctest/doctest.h>
#include <random>

using namespace trainctl;

TEST_CASE("values: durations") {
    struct Row {
        const char *text;
        int seconds;
    };
    const Row rows[] = {{"90s", 90},          {"15m", 900},        {"24h", 86400},         {"7d", 604800},
                        {"2w", 1209600},      {"1h30m", 5400},     {"1d2h3m4s", 93784},    {"12:00:00", 43200},
                        {"1-12", 129600},     {"1-12:30", 131400}, {"1-12:00:00", 129600}, {"0s", 0},
                        {"100:00:00", 360000}};
    for (const auto &row : rows) {
        CAPTURE(row.text);
        const auto parsed = parse_duration(row.text);
        REQUIRE(parsed.ok());
        CHECK(parsed->count() == row.seconds);
        CHECK(parse_duration(duration_text(*parsed)).value() == *parsed);
    }
}

TEST_CASE("values: durations that are none") {
    CHECK(parse_duration("90").error().message == "is '90' without a unit: write 90s, 90m, 90h or 90d");
    CHECK(parse_duration("1:30").error().message ==
          "is '1:30', which may be minutes or hours: write it like 1h30m or 01:30:00");
    for (const char *text : {"", "s", "1x", "1h1h", "1m1h", "-5s", "1.5h", "1 h", "12:00:60", "1-", "-1", "1-2-3",
                             "1:2:3:4", "9999999999999s", "1-12:", "12::00"}) {
        CAPTURE(text);
        const auto parsed = parse_duration(text);
        REQUIRE(!parsed.ok());
        CHECK(parsed.error().message.find(text) != std::string::npos);
    }
    CHECK(parse_duration("soon").error().message ==
          "must be a duration such as 90s, 15m, 24h, 1h30m or 1-12:00:00, not 'soon'");
}

TEST_CASE("values: sizes") {
    struct Row {
        const char *text;
        unsigned mib;
    };
    const Row rows[] = {{"64G", 65536}, {"64GiB", 65536}, {"512M", 512}, {"1T", 1048576}, {"1024K", 1},
                        {"1K", 1},      {"500MB", 477},   {"1GB", 954},  {"0M", 0},       {"1500M", 1500}};
    for (const auto &row : rows) {
        CAPTURE(row.text);
        const auto parsed = parse_size_mib(row.text);
        REQUIRE(parsed.ok());
        CHECK(*parsed == row.mib);
        CHECK(parse_size_mib(size_text(*parsed)).value() == *parsed);
    }
    CHECK(parse_size_mib("64").error().message == "is '64' without a unit: write 64M, 64G or 64T");
    CHECK(parse_size_mib("64g").error().message == "must be a size such as 64G, 512M, 1T or 64GiB, not '64g'");
    CHECK(parse_size_mib("999999999T").error().message == "is '999999999T': no machine has that much");
    for (const char *text : {"", "G", "1.5T", "64Gb", "64GiBs", "-1G", "1 G"}) {
        CAPTURE(text);
        CHECK(!parse_size_mib(text).ok());
    }
}

TEST_CASE("values: whole numbers") {
    CHECK(parse_integer("-12").value() == -12);
    CHECK(parse_integer("0").value() == 0);
    CHECK(parse_integer("0777").error().message ==
          "is '0777', which some YAML readers take for a number of base 8: write it without the leading 0");
    CHECK(parse_integer("99999999999999999999").error().message ==
          "must be a whole number, and '99999999999999999999' is too big");
    for (const char *text : {"", "-", "+1", "1.0", "0x10", "1_000", "1e3", " 1", "two"}) {
        CAPTURE(text);
        CHECK(parse_integer(text).error().message == "must be a whole number, not '" + std::string{text} + "'");
    }
}

TEST_CASE("values: words as a shell splits them") {
    using Words = std::vector<std::string>;
    struct Row {
        const char *text;
        Words words;
    };
    const Row rows[] = {
        {"python train.py --lr 0.1", {"python", "train.py", "--lr", "0.1"}},
        {"  a\tb  ", {"a", "b"}},
        {"a 'b c' \"d e\"f", {"a", "b c", "d ef"}},
        {"a '' \"\"", {"a", "", ""}},
        {R"(a \' \" \\ b\ c)", {"a", "'", "\"", "\\", "b c"}},
        {R"(a "\" \\ \$x \n")", {"a", "\" \\ $x \\n"}},
        {"a '$(x) | `y`' \"$(x) > $Y\"", {"a", "$(x) | `y`", "$(x) > $Y"}},
        {"a b \\\n  c", {"a", "b", "c"}},
        {"a --x=b=c ${HOME} {run} *.txt ~ # $", {"a", "--x=b=c", "${HOME}", "{run}", "*.txt", "~", "#", "$"}},
        {R"(a '{"lr": {"x": 1}}')", {"a", R"({"lr": {"x": 1}})"}},
        {"", {}},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        const auto words = split_words(row.text);
        REQUIRE(words.ok());
        CHECK(*words == row.words);
    }
}

TEST_CASE("values: what only a shell could do is refused") {
    struct Row {
        const char *text, *message;
    };
    const Row rows[] = {
        {"a | b", "has '|', and no shell runs it: put it in quotes, or write bash -c '...'"},
        {"a && b", "has '&&', and no shell runs it: put it in quotes, or write bash -c '...'"},
        {"a >> log", "has '>>', and no shell runs it: put it in quotes, or write bash -c '...'"},
        {"a; b", "has ';', and no shell runs it: put it in quotes, or write bash -c '...'"},
        {"a $(b)", "has '$(', and no shell runs it: put it in quotes, or write bash -c '...'"},
        {"a `b`", "has '`', and no shell runs it: put it in quotes, or write bash -c '...'"},
        {"a $RANK", "has $RANK, and no shell runs it: write ${RANK} for the value that you have when you submit, or "
                    "bash -c '...' for the one that the ranks have"},
        {"X=1 a", "begins with 'X=': put variables under environment.env"},
        {"a\nb", "has several lines, and no shell runs it: use one line, end lines with \\, or write bash -c '...'"},
        {"a 'b", "has a ' that is not closed"},
        {"a \"b", "has a \" that is not closed"},
        {"a \\", "ends with a \\"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        const auto words = split_words(row.text);
        REQUIRE(!words.ok());
        CHECK(words.error().message == row.message);
    }
}
