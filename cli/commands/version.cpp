// trainctl version: which trainctl this is, and which agent it brings.
#include "agent_file.h"
#include "command.h"

#include "base/json.h"

#include <fmt/format.h>
#include <memory>

namespace trainctl {

namespace {

int show_version(bool as_json) {
    const auto agent = find_agent();
    if (as_json) {
        print(dump_json({{"format", 1},
                         {"version", TRAINCTL_VERSION},
                         {"agent", agent ? Json{{"path", agent->path}, {"sha256", agent->sha256}} : Json(nullptr)}},
                        2) +
              "\n");
        return exit_ok;
    }
    print(fmt::format("trainctl {}\n", TRAINCTL_VERSION));
    print(agent ? fmt::format("agent    {} ({})\n", agent->path, agent->name)
                : fmt::format("agent    none at {}\n", agent_path()));
    return exit_ok;
}

} // namespace

void add_version(CLI::App &app, Invocation &invocation) {
    auto *command = app.add_subcommand("version", "Print the version, and the agent that submitted runs get");
    command->footer("Example:\n  trainctl version --json");
    const auto as_json = std::make_shared<bool>(false);
    command->add_flag("--json", *as_json, "Print JSON");
    command->callback([&invocation, as_json] { invocation.action = [as_json] { return show_version(*as_json); }; });
}

} // namespace trainctl
