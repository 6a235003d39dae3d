// The processes of this machine: who descends from whom, and who carries a run's mark in its environment.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace trainctl {

inline constexpr const char *mark_variable = "TRAINCTL_MARK";

// "run/attempt/generation/node": what every process of a generation inherits, however it detaches itself.
struct Mark {
    std::string run;
    int attempt = 0, generation = 0; // generation 0: setup
    std::string node;
};
std::string to_string(const Mark &mark);
std::optional<Mark> parse_mark(std::string_view text);

struct ProcessSeen {
    pid_t pid = 0, parent = 0;
    char state = '?'; // as in /proc/<pid>/stat: R, S, D, Z, ...
};
std::vector<ProcessSeen> list_processes();

// All that descend from `root`, it not included; zombies included.
std::vector<pid_t> descendants_of(pid_t root, const std::vector<ProcessSeen> &all);

// Whom a signal is for that is sent to `root`: itself, where it has a handler or waits for it; else those nearest below it that do.
// A launcher that knows nothing of it would die of it, and its workers be killed. Nobody does: `root`.
std::vector<pid_t> takers_of(pid_t root, int signal, const std::vector<ProcessSeen> &all);

// Processes of our user, but not ourselves, with a mark that `wanted` says yes to.
std::vector<pid_t> marked_processes(const std::function<bool(const Mark &)> &wanted);
// SIGKILL for them; how many there were.
std::size_t kill_marked(const std::function<bool(const Mark &)> &wanted);

} // namespace trainctl
