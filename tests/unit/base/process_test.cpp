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
