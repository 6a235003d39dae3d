#include "remote/logged_transport.h"

#include <doctest/doctest.h>
#include <vector>

namespace trainctl {

TEST_CASE("logged transport: says what is run and how it ended, and nothing of what goes through") {
    std::vector<std::string> lines;
    LoggedTransport transport{std::make_unique<LocalTransport>(), Log{"here", [&](const std::string &line) { lines.push_back(line); }}};
    std::string seen;
    RemoteCommand command{.line = "cat; exit 3", .input = "token"};
    command.on_output = [&](std::string_view piece) { seen += piece; return true; };
    const auto result = transport.run(command);
    REQUIRE(result);
    CHECK(result->exit_code == 3);
    CHECK(seen == "token");
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].find("debug here: run: cat; exit 3") != std::string::npos);
    CHECK(lines[1].find("code 3 after") != std::string::npos);
    CHECK(lines[1].find("5 bytes sent, 5 received") != std::string::npos);
    for (const auto &line : lines)
        CHECK(line.find("token") == std::string::npos);

    const auto late = transport.run({.line = "sleep 5", .input = "", .deadline = std::chrono::milliseconds{1}});
    CHECK(!late);
    CHECK(lines.back().find("warning here: ") != std::string::npos);
}

} // namespace trainctl
