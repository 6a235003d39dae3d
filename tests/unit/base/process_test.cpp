#include "base/process.h"

#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

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
    result = run_command({.argv = {"sh", "-c", "echo slow >&2; exec tail -f /dev/null"}, .input = "", .deadline = 3s});
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

TEST_CASE("process: an interrupt ends the wait at once, with SIGTERM, and the command ends by itself") {
    TempDir dir;
    const auto began = std::chrono::steady_clock::now();
    bool asked = false;
    Command command{.argv = {"sh", "-c", "trap 'sleep 0.3; echo whole > " + dir.path() + "/done; exit 0' TERM; sleep 30 & wait"}, .input = ""};
    // Quiet: only the question ends it. The trap is set when the shell has had a moment.
    command.interrupted = [&] { return asked = std::chrono::steady_clock::now() - began > std::chrono::milliseconds{500}; };
    const auto result = run_command(command);
    REQUIRE(!result);
    CHECK(asked);
    CHECK(result.error().kind == ErrorKind::interrupted);
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{25});
    // It was not killed: what it had begun comes to its end.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (::access((dir.path() + "/done").c_str(), F_OK) != 0 && std::chrono::steady_clock::now() < limit)
        ::poll(nullptr, 0, 20);
    CHECK(::access((dir.path() + "/done").c_str(), F_OK) == 0);
}
