// Plans for the tests of rendering, and a bash to run what was rendered.
#pragma once

#include "base/process.h"
#include "script/render.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace trainctl {

inline AttemptPlan small_plan() {
    AttemptPlan plan;
    plan.experiment.name = "char-gpt";
    plan.experiment.launch.command = {"python3", "train.py"};
    plan.run = RunId{"char-gpt-k3x9"};
    plan.no = AttemptNo{1};
    plan.root = "/shared/trainctl";
    plan.agent = "/shared/trainctl/bin/trainctl-agent-0123abcd";
    return plan;
}

inline AttemptPlan full_plan() {
    AttemptPlan plan = small_plan();
    auto &wanted = plan.experiment.resources;
    wanted.nodes = 16;
    wanted.spares = 2;
    wanted.per_node = 8;
    wanted.chip = "h100";
    wanted.time = std::chrono::hours{36};
    wanted.partition = "gpu";
    wanted.account = "physics";
    wanted.qos = "high";
    wanted.constraint = "ib&(a|b)";
    wanted.reservation = "march";
    wanted.memory_mib = 1800000;
    wanted.cpus = 96;
    wanted.sbatch = {"--exclusive", "--switches=1@10"};
    plan.no = AttemptNo{12};
    plan.root = "/shared/it's 100% ours";
    plan.agent = plan.root + "/bin/trainctl-agent-0123abcd";
    plan.exclude_nodes = {"n7", "n9"};
    plan.after = JobId{4711};
    return plan;
}

inline std::string rendered_script(const AttemptPlan &plan) {
    const auto rendered = render_attempt(plan, builtin_template("slurm"));
    REQUIRE_MESSAGE(rendered.ok(), (rendered.ok() ? "" : rendered.error().text()));
    return rendered->script;
}

inline void write_text(const std::string &path, const std::string &text, bool executable = false) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << text;
    if (executable)
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

inline std::string read_text(const std::string &path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

inline CommandResult run(std::vector<std::string> argv, const std::string &directory = "",
                         std::optional<Environment> environment = {}) {
    Command command;
    command.argv = std::move(argv);
    command.directory = directory;
    command.environment = std::move(environment);
    const auto result = run_command(command);
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().text()));
    return *result;
}

// A program that prints its arguments, a NUL after each.
inline const char *const argv_printer = "#!/bin/sh\nprintf '%s\\0' \"$@\"\n";

inline std::vector<std::string> nul_separated(const std::string &text) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    for (auto at = text.find('\0'); at != std::string::npos; at = text.find('\0', from)) {
        parts.push_back(text.substr(from, at - from));
        from = at + 1;
    }
    return parts;
}

inline std::string machine() {
    std::string name = run({"uname", "-m"}).out;
    name.pop_back();
    return name;
}

} // namespace trainctl
