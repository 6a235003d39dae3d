// Runs one command to its end with captured, bounded output and a deadline. Children get SIGKILL with the
// whole process group at the deadline and when the calling thread dies, so that no command outlives us; but see
// Command::interrupted.
#pragma once

#include "base/clock.h"
#include "base/result.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

using Environment = std::map<std::string, std::string>;

struct Command {
    std::vector<std::string> argv;              // argv[0] is looked up in PATH of `environment` if it has no slash
    std::string input;                          // what the command reads; then end of file
    std::optional<Environment> environment = {}; // nullopt: ours
    std::string directory = {};                 // empty: ours
    Duration deadline = std::chrono::seconds{60};
    std::size_t max_output_bytes = 64u << 20;   // of each stream; more is dropped and said in `truncated`
    // Where set, stdout goes here piece by piece and not into CommandResult::out; false ends the command.
    std::function<bool(std::string_view)> on_output = {};
    // Where set, called again and again for more input after `input`, until it gives an empty piece; called
    // only when the command has taken the piece before. Its error ends the command and is the result.
    std::function<Result<std::string>()> more_input = {};
    // Where set, asked several times a second; true ends the wait. A command that has this is never killed in the middle
    // of what it does: at every early end it gets SIGTERM and is left to end by itself, also when we die.
    std::function<bool()> interrupted = {};
};

struct CommandResult {
    int exit_code = 0; // 0..255, or 128 + signal
    std::string out;
    std::string err;
    bool truncated = false;

    bool ok() const { return exit_code == 0; }
};

// Errors: not_found (no such program), timeout (the deadline passed: the command may have had its effect),
// interrupted (on_output or `interrupted` said so), io. A command that ran and failed is a value, not an error.
Result<CommandResult> run_command(const Command &command);

// Absolute path of a program, by the PATH given; nothing where there is none.
std::optional<std::string> find_program(const std::string &name, const std::string &path);

// The environment of this process, and one variable of it.
Environment own_environment();
std::string own_variable(const char *name, const std::string &otherwise = "");

} // namespace trainctl
