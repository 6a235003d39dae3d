#include "agent/head_step.h"

#include "base/files.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t kept_lines = 20, most_partial_bytes = 8192;

} // namespace

std::vector<std::string> step_command(const HeadPlan &plan, const std::string &agent) {
    const auto nodes = std::to_string(plan.nodes.size());
    const bool wire = plan.info.agent_network != AgentNetwork::tcp;
    return {plan.tools.srun, "--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--cpu-bind=none", "--mem=0",
            wire ? "--input=all" : "--input=none", "--export=ALL", "--job-name=trainctl-agents", "--nodes=" + nodes, "--ntasks=" + nodes,
            "--ntasks-per-node=1", "--nodelist=" + join(plan.nodes, ","), "--chdir=" + plan.paths.dir(), agent, "node",
            "--run-dir", plan.paths.dir(), "--attempt", to_string(plan.attempt), "--network", to_string(plan.info.agent_network)};
}

Environment step_environment(Environment environment, const ToolPaths &tools) {
    // Each of these is an option of srun in disguise (srun(1), INPUT ENVIRONMENT VARIABLES) or clashes with one.
    constexpr std::array<std::string_view, 28> prefixes{
        "SLURM_CPU_BIND", "SLURM_EXACT", "SLURM_MEM_PER_", "SLURM_MEM_BIND", "SLURM_NTASKS", "SLURM_NPROCS",
        "SLURM_TASKS_PER_NODE", "SLURM_DISTRIBUTION", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_PER_GPU", "SLURM_TRES_PER_TASK",
        "SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "SLURM_GPU_FREQ", "SLURM_OVERCOMMIT", "SLURM_OVERLAP", "SLURM_WAIT",
        "SLURM_KILL_BAD_EXIT", "SLURM_NO_KILL", "SLURM_EXPORT_ENV", "SLURM_THREADS_PER_CORE", "SLURM_HINT",
        "SLURM_CORE_SPEC", "SLURM_RELATIVE", "SLURM_STD", "SLURM_WHOLE", "SLURM_UNBUFFEREDIO", "SLURM_LABELIO"};
    for (auto at = environment.begin(); at != environment.end();) {
        const bool drop = starts_with(at->first, "SRUN_") ||
                          std::any_of(prefixes.begin(), prefixes.end(), [&](auto prefix) { return starts_with(at->first, prefix); });
        at = drop ? environment.erase(at) : std::next(at);
    }
    if (!tools.slurm_conf.empty())
        environment["SLURM_CONF"] = tools.slurm_conf;
    return environment;
}

AgentsStep::AgentsStep(Loop &loop, Calls calls) : loop_(loop), calls_(std::move(calls)) {}

AgentsStep::~AgentsStep() {
    if (output_)
        loop_.forget(output_.get());
}

Result<void> AgentsStep::start(const std::vector<std::string> &command, const Environment &environment,
                               const std::vector<std::pair<int, int>> &fds) {
    auto pipe = make_pipe();
    if (!pipe)
        return pipe.error();
    std::optional<Pipe> input, lines;
    if (calls_.on_open) {
        auto to = make_pipe(), from = make_pipe();
        if (!to || !from)
            return to ? from.error() : to.error();
        input = std::move(*to);
        lines = std::move(*from);
    }
    SpawnSpec child{command, environment, "/", {{lines ? lines->write_end.get() : pipe->write_end.get(), 1}, {pipe->write_end.get(), 2}}};
    if (input)
        child.fds.emplace_back(input->read_end.get(), 0);
    child.fds.insert(child.fds.end(), fds.begin(), fds.end());
    const auto pid = spawn(child);
    if (!pid)
        return pid.error();
    pid_ = *pid;
    if (input)
        wire_ = SrunWire::make(loop_, std::move(lines->read_end), std::move(input->write_end),
                               {calls_.on_open, [this](const std::string &line) { take_line(line); },
                                [this] {
                                    take_line("srun takes nothing: it is ended");
                                    kill();
                                }});
    output_ = std::move(pipe->read_end);
    set_nonblocking(output_.get());
    loop_.when_readable(output_.get(), [this] { read_output(); });
    return {};
}

void AgentsStep::read_output() {
    std::array<char, 4096> buffer;
    const auto n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n < 0)
        return;
    if (n == 0) {
        loop_.forget(output_.get());
        output_.close();
        return;
    }
    partial_.append(buffer.data(), static_cast<std::size_t>(n));
    for (auto at = partial_.find('\n'); at != std::string::npos || partial_.size() > most_partial_bytes; at = partial_.find('\n')) {
        const std::string line = partial_.substr(0, at);
        partial_.erase(0, at == std::string::npos ? at : at + 1);
        take_line(line);
    }
}

void AgentsStep::take_line(const std::string &line) {
    if (ends_with(line, "lacks support for cpu binding")) // our --cpu-bind=none, where there is nothing to unbind
        return;
    calls_.on_line(line);
    last_.push_back(line);
    if (last_.size() > kept_lines)
        last_.erase(last_.begin());
}

void AgentsStep::child_ended(pid_t pid, int status) {
    if (pid_ <= 0 || pid != pid_)
        return;
    pid_ = 0;
    for (std::size_t i = 0; i < kept_lines && output_; ++i)
        read_output();
    if (wire_)
        wire_->end("srun ended");
    std::string text = WIFEXITED(status) ? fmt::format("srun exited with code {}", WEXITSTATUS(status))
                                         : fmt::format("srun was killed by signal {}", WTERMSIG(status));
    if (!partial_.empty())
        last_.push_back(partial_);
    if (!last_.empty())
        text += ": " + valid_utf8(join(last_, "\n"));
    calls_.on_end(text);
}

void AgentsStep::terminate() {
    if (pid_ > 0)
        ::kill(pid_, SIGTERM);
}

void AgentsStep::kill() {
    if (pid_ > 0)
        ::kill(-pid_, SIGKILL);
}

} // namespace trainctl
