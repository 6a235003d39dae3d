// The frame of every command: a command registers its options with CLI11 and leaves an action that main runs.
#pragma once

#include "base/result.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace trainctl {

// Exit codes, the same for every command.
enum ExitCode : int {
    exit_ok = 0,
    exit_failed = 1,
    exit_usage = 2,        // bad usage, or an invalid experiment
    exit_run_failed = 3,   // the run failed for good
    exit_unreachable = 4,  // the cluster, or its Slurm, can't be reached
    exit_interrupted = 130,
};

constexpr std::int64_t most_attempts = 999'999;

struct Invocation {
    std::function<int()> action; // set by the chosen command
};

// One command: adds its subcommand to `app`; the subcommand's callback sets invocation.action.
using AddCommand = void (*)(CLI::App &app, Invocation &invocation);

// "trainctl: error: ..." and the hint on stderr; the exit code for it.
int report_error(const Error &error);

// Checks an option's value: a whole number in this range.
std::function<std::string(const std::string &)> whole_number(std::int64_t least, std::int64_t most);

// A result on stdout, at once. Where nobody reads it any more (`trainctl ... | head`) the process ends without
// a word: SIGPIPE is ignored because of the sockets.
void print(std::string_view text);

} // namespace trainctl
