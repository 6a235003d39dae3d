// trainctl-agent: what runs inside the job. Its subcommands are for trainctl itself, not for people.
#include "agent/attempt_process.h"
#include "agent/evidence.h"
#include "agent/guard.h"
#include "agent/node.h"
#include "agent/preflight.h"
#include "agent/rank_task.h"
#include "desk/desk.h"
#include "note.h"

#include <cstdio>
#include <string_view>
#include <unistd.h>
#include <vector>

using namespace trainctl;

namespace {

using Arguments = std::vector<std::string>;

int usage() {
    std::fputs("trainctl-agent: this program is started by trainctl; see `trainctl --help`\n", stderr);
    return 2;
}

// The environment, each variable ended by a NUL: what a setup script left, whatever it did to PATH.
int print_environment(const Arguments &) {
    for (char **entry = environ; entry != nullptr && *entry != nullptr; ++entry)
        if (std::fwrite(*entry, 1, std::string_view{*entry}.size() + 1, stdout) == 0)
            return 1;
    return std::fflush(stdout) == 0 ? 0 : 1;
}

int print_version(const Arguments &) { return std::puts("trainctl-agent " TRAINCTL_VERSION) >= 0 ? 0 : 1; }

struct Subcommand {
    std::string_view name;
    int (*run)(const Arguments &);
};

constexpr Subcommand subcommands[] = {
    {"run", [](const Arguments &arguments) -> int { attempt_main(arguments); }},
    {"desk", [](const Arguments &) {
         open_standard_files();
         return desk_main();
     }},
    {"node", [](const Arguments &arguments) { return node_main(arguments); }},
    {"preflight", preflight_main},
    {"task", rank_task_main},
    {"evidence", [](const Arguments &) { return run_evidence(); }},
    {"guard", [](const Arguments &) { return run_guard(); }},
    {"environment", print_environment},
    {"version", print_version},
};

} // namespace

int main(int argc, char **argv) {
    const Arguments arguments(argv + (argc > 1 ? 2 : 1), argv + argc);
    for (const auto &subcommand : subcommands)
        if (argc > 1 && subcommand.name == argv[1])
            return subcommand.run(arguments);
    return usage();
}
