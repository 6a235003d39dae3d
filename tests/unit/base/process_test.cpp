#include "base/process.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

TEST_CASE("process: output, input, exit codes and signals") {
    auto result = run_command({.argv = {"sh", "-c", "cat; echo err >&2; exit 3"}, .input = "hello"});
    REQUIRE(result);
    CHECK(result->exit_code == 3);
    CHECK(result->out == "hello");
    CHECK(result->err == "err\n");
    result = run_command({.argv = {"sh", "-c", "kill -9 $$"}, .input = ""});
    REQUIRE(result);
    CHECK(result->exit_code == 137);
}

TEST_CASE("process: a missing program and a deadline are errors of their own kind") {
    auto result = run_command({.argv = {"no-such-program-here"}, .input = ""});
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::not_found);
    result = run_command({.argv = {"sh", "-c", "echo slow >&2; exec tail -f /dev/null"}, .input = "", .deadline = 100ms});
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::timeout);
    CHECK(result.error().message.find("slow") != std::string::npos);
}

TEST_CASE("process: large input and output at once, and a bound on what is kept") {
    const std::string big(3u << 20, 'x');
    auto result = run_command({.argv = {"cat"}, .input = big});
    REQUIRE(result);
    CHECK(result->out == big);
    CHECK(!result->truncated);
    Command bounded{.argv = {"cat"}, .input = big};
    bounded.max_output_bytes = 1000;
    result = run_command(bounded);
    REQUIRE(result);
    CHECK(result->out.size() == 1000);
    CHECK(result->truncated);
}

TEST_CASE("process: the environment given is the whole environment") {
    Command command{.argv = {"env"}, .input = ""};
    command.environment = Environment{{"PATH", "/usr/bin:/bin"}, {"A", "b c"}};
    auto result = run_command(command);
    REQUIRE(result);
    CHECK(result->out == "A=b c\nPATH=/usr/bin:/bin\n");
}

TEST_CASE("process: more input is asked for piece by piece, and its error ends the command") {
    int pieces = 0;
    Command command{.argv = {"cat"}, .input = "first "};
    command.more_input = [&]() -> Result<std::string> { return ++pieces <= 3 ? std::string(100'000, 'x') : std::string{}; };
    auto result = run_command(command);
    REQUIRE(result);
    CHECK(result->out == "first " + std::string(300'000, 'x'));
    CHECK(pieces == 4);
    command.more_input = []() -> Result<std::string> { return Error{ErrorKind::no_space, "no more", "here", ""}; };
    result = run_command(command);
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::no_space);
}

TEST_CASE("process: a command that does not read its input to the end is no error of ours") {
    int pieces = 0;
    Command command{.argv = {"sh", "-c", "head -c 5"}, .input = std::string(1u << 20, 'y')};
    command.more_input = [&]() -> Result<std::string> { return ++pieces < 1000 ? std::string(100'000, 'x') : std::string{}; };
    const auto result = run_command(command);
    REQUIRE(result);
    CHECK(result->out == "yyyyy");
    CHECK(pieces < 1000);
}

TEST_CASE("process: output can be followed, and ended from outside") {
    Command command{.argv = {"sh", "-c", "while :; do echo more; done"}, .input = ""};
    std::string seen;
    command.on_output = [&](std::string_view piece) { return (seen += piece).size() < 1000; };
    const auto result = run_command(command);
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::interrupted);
    CHECK(seen.find("more\n") == 0);
}
