#include "agent/head_children.h"

#include "base/files.h"
#include "base/text.h"

#include <algorithm>
#include <sys/wait.h>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_steps_alone = 16;
constexpr Duration bye_limit = 3s, srun_limit = 2s; // for the agents to leave and srun to end by itself, and on SIGTERM
constexpr Duration alone_limit = 500ms;             // for each where no agent is left

} // namespace

HeadChildren::HeadChildren(Loop &loop, LogWriter &logs, const HeadPlan &plan, Calls calls)
    : loop_(loop), plan_(plan), calls_(std::move(calls)), agent_(plan.agent_program.empty() ? own_program() : plan.agent_program),
      ranks_(loop, plan, agent_, {[this](const std::string &line) { calls_.log("srun: " + line); }, calls_.on_ranks_failed}),
      reporter_(loop, logs, {plan.experiment.health.report_node, plan.paths.dir(),
                             plan.paths.attempt_file(plan.attempt, "logs/agent.log"), own_environment()}) {}

Result<void> HeadChildren::start_agents(const std::vector<std::string> &nodes) {
    HeadPlan part = plan_;
    part.nodes = nodes;
    AgentsStep::Calls calls{[this](const std::string &line) { calls_.log("agents: " + line); }, calls_.on_agents_end};
    if (plan_.info.agent_network != AgentNetwork::tcp)
        calls.on_open = calls_.on_agent;
    steps_.push_back(std::make_unique<AgentsStep>(loop_, std::move(calls)));
    return steps_.back()->start(step_command(part, agent_), step_environment(own_environment(), plan_.tools));
}

void HeadChildren::start_agents_again(const std::vector<std::string> &nodes) {
    calls_.log("agents are started again on " + join(nodes, ","));
    std::vector<std::vector<std::string>> parts{nodes};
    if (nodes.size() <= most_steps_alone) {
        parts.clear();
        for (const auto &node : nodes)
            parts.push_back({node});
    }
    for (const auto &part : parts)
        if (const auto started = start_agents(part); !started)
            calls_.log("cannot start agents: " + started.error().text());
}

bool HeadChildren::agents_run() const {
    return std::any_of(steps_.begin(), steps_.end(), [](const auto &step) { return step->running(); });
}

void HeadChildren::end_agents(bool agents_here, const std::function<void()> &done) {
    if (!agents_run())
        return done();
    if (end_timer_ != 0 && agents_here)
        return;
    loop_.cancel(end_timer_);
    end_timer_ = loop_.after(agents_here ? bye_limit : alone_limit, [this, agents_here, done] {
        calls_.log("srun did not end by itself");
        for (const auto &step : steps_)
            step->terminate();
        end_timer_ = loop_.after(agents_here ? srun_limit : alone_limit, [this, done] {
            for (const auto &step : steps_)
                step->kill();
            done();
        });
    });
}

// By their ids alone: threads beside ours wait for commands of their own.
void HeadChildren::reap() {
    ranks_.reap();
    std::vector<pid_t> children = reporter_.pids();
    for (const auto &step : steps_)
        children.push_back(step->pid());
    for (const pid_t pid : children) {
        int status = 0;
        if (pid <= 0 || ::waitpid(pid, &status, WNOHANG) != pid)
            continue;
        reporter_.child_ended(pid, status);
        // One that ends may have others started.
        for (std::size_t i = 0; i < steps_.size(); ++i)
            steps_[i]->child_ended(pid, status);
    }
}

} // namespace trainctl
