#include "agent/node.h"
#include "agent/spawn.h"
#include "base/files.h"

#include <cstdio>

namespace trainctl {

int node_main(const std::vector<std::string> &arguments) {
    NodePlan plan;
    std::string run_dir;
    for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
        if (arguments[i] == "--run-dir")
            run_dir = arguments[i + 1];
        else if (arguments[i] == "--attempt")
            plan.attempt = parse_attempt_no(arguments[i + 1]).value_or(AttemptNo{});
        else if (arguments[i] == "--network")
            plan.network = parse_agent_network(arguments[i + 1]).value_or(plan.network);
    }
    plan.node = own_variable("SLURMD_NODENAME");
    plan.program = own_program();
    if (run_dir.empty() || plan.attempt.value < 1 || plan.node.empty() || plan.program.empty()) {
        std::fputs("trainctl-agent node: wants --run-dir D --attempt N and SLURMD_NODENAME\n", stderr);
        return 2;
    }
    plan.attempt_dir = join_path(run_dir, "attempts/" + to_string(plan.attempt));
    return run_node(plan);
}

} // namespace trainctl
