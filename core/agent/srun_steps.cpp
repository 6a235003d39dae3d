#include "agent/srun_steps.h"

#include "agent/srun_ranks.h"
#include "base/text.h"

#include <fmt/format.h>
#include <sys/wait.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr int hosts_fd = 3;                // in srun
constexpr Duration end_limit = 5s, term_limit = 5s; // srun waits for lost nodes as long as Slurm does

} // namespace

struct RanksSteps::Step {
    Step(Loop &loop, AgentsStep::Calls calls) : srun(loop, std::move(calls)) {}
    AgentsStep srun;
    Loop::Timer timer = 0;
    bool killed = false;
};

std::vector<std::string> ranks_step_command(const HeadPlan &plan, const RanksStep &step, const std::string &agent) {
    const auto nodes = step.nodes.size();
    std::vector<std::string> out{plan.tools.srun, "--overlap", "--overcommit", "--no-kill", "--kill-on-bad-exit=0", "--wait=0",
                                 "--cpu-bind=none", "--mem=0", "--input=none", "--export=ALL",
                                 fmt::format("--job-name=trainctl-ranks-{}", step.generation), fmt::format("--nodes={}", nodes),
                                 fmt::format("--ntasks={}", nodes * static_cast<std::size_t>(step.ranks_per_node)),
                                 "--distribution=arbitrary", "--chdir=" + plan.paths.dir()};
    if (!step.mpi.empty())
        out.push_back("--mpi=" + step.mpi);
    out.push_back(agent);
    out.push_back("task");
    return out;
}

std::string ranks_step_hosts(const RanksStep &step) {
    std::string out;
    for (const auto &node : step.nodes)
        for (int local = 0; local < step.ranks_per_node; ++local)
            out += node + "\n";
    return out;
}

Environment ranks_step_environment(Environment environment, const ToolPaths &tools, const std::string &token, int hosts) {
    auto out = step_environment(std::move(environment), tools);
    out[task_token_variable] = token;
    out["SLURM_HOSTFILE"] = fmt::format("/proc/self/fd/{}", hosts);
    return out;
}

RanksSteps::RanksSteps(Loop &loop, const HeadPlan &plan, std::string agent, Calls calls)
    : loop_(loop), plan_(plan), agent_(std::move(agent)), calls_(std::move(calls)) {}

RanksSteps::~RanksSteps() {
    for (auto &[generation, step] : steps_)
        loop_.cancel(step->timer);
}

Result<void> RanksSteps::start(const RanksStep &step) {
    const auto hosts = memory_file("hosts", ranks_step_hosts(step));
    if (!hosts)
        return hosts.error();
    auto made = std::make_unique<Step>(loop_, AgentsStep::Calls{calls_.on_line, [this, generation = step.generation](const std::string &text) {
                                                                    ended(generation, text);
                                                                }});
    const auto started = made->srun.start(ranks_step_command(plan_, step, agent_),
                                          ranks_step_environment(own_environment(), plan_.tools, step.token, hosts_fd),
                                          {{hosts->get(), hosts_fd}});
    if (!started)
        return started.error();
    steps_[step.generation] = std::move(made);
    return {};
}

void RanksSteps::killed(int generation) {
    for (auto &[number, step] : steps_) {
        if (number > generation || std::exchange(step->killed, true))
            continue;
        step->timer = loop_.after(end_limit, [this, step = step.get()] {
            step->srun.terminate();
            step->timer = loop_.after(term_limit, [step] {
                step->timer = 0;
                step->srun.kill();
            });
        });
    }
}

void RanksSteps::reap() {
    std::vector<std::pair<AgentsStep *, pid_t>> sruns;
    for (auto &[generation, step] : steps_)
        sruns.emplace_back(&step->srun, step->srun.pid());
    for (const auto &[srun, pid] : sruns)
        if (int status = 0; pid > 0 && ::waitpid(pid, &status, WNOHANG) == pid)
            srun->child_ended(pid, status);
}

void RanksSteps::kill_all() {
    for (auto &[generation, step] : steps_) {
        step->killed = true;
        step->srun.kill();
    }
}

void RanksSteps::ended(int generation, const std::string &text) {
    const auto at = steps_.find(generation);
    loop_.cancel(at->second->timer);
    ended_ = std::move(at->second); // its own call leads here
    steps_.erase(at);
    if (!ended_->killed)
        calls_.on_failed(generation, text);
}

} // namespace trainctl
