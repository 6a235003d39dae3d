// trainctl version: which trainctl this is, and which agent it brings.
#include "command.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"

#include <fmt/format.h>
#include <memory>
#include <optional>
#include <unistd.h>

namespace trainctl {

namespace {

std::string own_folder() {
    char path[4096];
    const auto n = ::readlink("/proc/self/exe", path, sizeof path);
    return n > 0 ? parent_path({path, static_cast<std::size_t>(n)}) : ".";
}

int show_version(bool as_json) {
    const std::string agent = own_folder() + "/trainctl-agent";
    const auto content = PosixFiles{}.read(agent);
    const bool there = content && *content;
    const std::string hash = there ? sha256_hex(**content) : "";
    if (as_json) {
        print(dump_json({{"format", 1},
                         {"version", TRAINCTL_VERSION},
                         {"agent", there ? Json{{"path", agent}, {"sha256", hash}} : Json(nullptr)}},
                        2) +
              "\n");
        return exit_ok;
    }
    print(fmt::format("trainctl {}\n", TRAINCTL_VERSION));
    print(there ? fmt::format("agent    {} (sha256 {})\n", agent, hash.substr(0, 16))
                : fmt::format("agent    none at {}\n", agent));
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
