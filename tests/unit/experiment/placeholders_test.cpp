#include "experiment/placeholders.h"

#include <doctest/doctest.h>
#include <random>

using namespace trainctl;

namespace {

constexpr unsigned all =
    env_placeholder | run_placeholder | attempt_placeholder | checkpoint_placeholder | checkpoint_dir_placeholder;
const Environment environment{
    {"HOME", "/home/me"}, {"BRACED", "{run} ${X} {{y}}"}, {"OPEN", "{"}, {"CLOSE", "}"}, {"DOLLAR", "$"}};
const std::map<std::string, std::string> values{
    {"run", "R"}, {"attempt", "2"}, {"checkpoint", "/c"}, {"checkpoint_step", "40"}, {"checkpoint_name", "c"}, {"checkpoint_dir", "/d"}};

std::string through(const std::string &text) {
    const auto resolved = resolve_text(text, all, environment);
    REQUIRE(resolved.problems.empty());
    return expand(resolved.text, values).value();
}

} // namespace

TEST_CASE("placeholders: filled in, and all other braces are text") {
    struct Row {
        const char *text, *result;
    };
    const Row rows[] = {
        {"--out={checkpoint_dir}/{run}-{attempt}", "--out=/d/R-2"},
        {"{checkpoint}", "/c"},
        {"--load {checkpoint_dir} --ckpt-step {checkpoint_step}", "--load /d --ckpt-step 40"},
        {"{checkpoint_name}", "c"},
        {R"({"lr": {"x": 1}})", R"({"lr": {"x": 1}})"},
        {R"({"id": "{run}"})", R"({"id": "R"})"},
        {"{'a':{run}}", "{'a':R}"},
        {"print({1: 2}, {}, {A}, {x+1}, {a b})", "print({1: 2}, {}, {A}, {x+1}, {a b})"},
        {"{{run}} {{{run}}} {{bogus}}", "{run} {{run}} {bogus}"},
        {"{{run} {run}}", "{R R}"},
        {"${HOME}/x $${HOME} $$${HOME} $HOME ${HOME:-x} ${1}", "/home/me/x ${HOME} $${HOME} $HOME ${HOME:-x} ${1}"},
        {"${BRACED}", "{run} ${X} {{y}}"},
        {"${OPEN}run${CLOSE}", "{run}"},
        {"${OPEN}{run}", "{R"},
        {"", ""},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        CHECK(through(row.text) == row.result);
    }
}

TEST_CASE("placeholders: unknown ones, and those that don't belong there") {
    struct Row {
        const char *text;
        unsigned allowed;
        const char *problem;
    };
    const Row rows[] = {
        {"{chekpoint}", all,
         "unknown placeholder {chekpoint}: did you mean {checkpoint}? Or write {{chekpoint}} for the text itself "
         "(known "
         "here: {run}, {attempt}, {checkpoint}, {checkpoint_step}, {checkpoint_name}, {checkpoint_dir}, ${NAME})"},
        {"{x}", env_placeholder | run_placeholder,
         "unknown placeholder {x}: write {{x}} for the text itself (known here: {run}, ${NAME})"},
        {"{checkpoint}", env_placeholder | run_placeholder,
         "{checkpoint} stands in checkpoint.resume_args only: the first attempt has no checkpoint"},
        {"{checkpoint_step}", env_placeholder | run_placeholder,
         "{checkpoint_step} stands in checkpoint.resume_args only: the first attempt has no checkpoint"},
        {"{attempt}", env_placeholder, "{attempt} can't be used here (allowed: ${NAME})"},
        {"${HOEM}", all,
         "${HOEM} is not set in your environment: did you mean ${HOME}? Or export it, or write $${HOEM} for the text "
         "itself"},
        {"${DOLLAR}{run}", all,
         "the values of ${...} put braces around a placeholder, which can't be told from an escaped one: change one of "
         "them"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        const auto resolved = resolve_text(row.text, row.allowed, environment);
        REQUIRE(resolved.problems.size() == 1);
        CHECK(resolved.problems[0] == row.problem);
    }
    CHECK(expand("{nope}", values).error().message == "no value for {nope}");
}

TEST_CASE("placeholders: a field with ${NAME} alone gives the final text") {
    CHECK(resolve_text("${HOME}/{{run}}/${BRACED}", env_placeholder, environment).text ==
          "/home/me/{run}/{run} ${X} {{y}}");
}

TEST_CASE("placeholders: what is escaped comes back, whatever it is") {
    std::mt19937 random(7);
    const std::string parts[] = {"{", "}", "{{", "}}", "$", "$$", "run", "x", "A", "_", "1", " ", "\"", "${", "{run}"};
    for (int i = 0; i < 20000; ++i) {
        std::string text;
        for (auto n = random() % 9; n > 0; --n)
            text += parts[random() % std::size(parts)];
        CAPTURE(text);
        const std::string escaped = escape_placeholders(text);
        REQUIRE(expand(escaped, {}).ok());
        REQUIRE(expand(escaped, {}).value() == text);
        REQUIRE(resolve_text(escaped, all, {}).text == escaped);
        REQUIRE(resolve_text(escaped, env_placeholder, {}).text == text);
    }
}
