// Reads the recorded answers of a real Slurm (22.05.8) beside the tests.
#pragma once

#include "base/files.h"
#include "base/process.h"
#include "base/text.h"

#include <doctest/doctest.h>
#include <string>
#include <vector>

namespace trainctl {

inline std::string fixture(const std::string &name) {
    const auto content = PosixFiles{}.read(std::string{TRAINCTL_SOURCE_DIR} + "/tests/unit/slurm/fixtures/" + name);
    REQUIRE(content.ok());
    REQUIRE(content->has_value());
    return **content;
}

struct RecordedCommand {
    std::string command;
    CommandResult result;
};

// Blocks of "$ command", "out: ..." and "err: ..." lines, and "rc: n".
inline std::vector<RecordedCommand> recorded_commands(const std::string &name) {
    std::vector<RecordedCommand> all;
    for (const auto &line : split_lines(fixture(name))) {
        if (starts_with(line, "$ "))
            all.push_back({line.substr(2), {}});
        REQUIRE_FALSE(all.empty());
        if (starts_with(line, "out: "))
            all.back().result.out += line.substr(5) + "\n";
        else if (starts_with(line, "err: "))
            all.back().result.err += line.substr(5) + "\n";
        else if (starts_with(line, "rc: "))
            all.back().result.exit_code = std::stoi(line.substr(4));
    }
    return all;
}

inline RecordedCommand recorded_command(const std::string &name, const std::string &command) {
    for (const auto &said : recorded_commands(name))
        if (said.command == command)
            return said;
    FAIL("no such recorded command: " << command);
    return {};
}

} // namespace trainctl
