#include "agent/node_checks.h"

#include "agent/preflight.h"
#include "base/files.h"
#include "base/process.h"
#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

namespace trainctl {

namespace {

int number(std::string_view text) {
    int out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

// 0: Slurm did not say.
int job_cpus() {
    return count_for_node(own_variable("SLURM_JOB_CPUS_PER_NODE"), number(own_variable("SLURM_NODEID", "0")));
}

// The kernel ends ranks at the limit, whoever set it. Where it is not Slurm's own, as in a container around all of Slurm, the
// job has no more on any other node: then it is only noted.
void check_memory(const NodeConfig &config, NodeCheck &check) {
    const auto cgroups = PosixFiles{}.read("/proc/self/cgroup");
    if (!cgroups || !*cgroups)
        return;
    // Nodes may claim more memory than there is.
    const auto machine_mib = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) >> 20;
    const auto problem = memory_problem(std::min(config.given_mib, machine_mib), cgroup_limit_mib(**cgroups, "/sys/fs/cgroup"));
    if (problem.empty())
        return;
    check.note += "; " + problem;
    if ((*cgroups)->find("/job_" + config.job + "/") != std::string::npos)
        check.problem = problem;
}

} // namespace

std::uint64_t job_memory_mib(const Environment &environment) {
    const auto variable = [&](const char *name) {
        const auto at = environment.find(name);
        return at == environment.end() ? std::string{} : at->second;
    };
    if (const int per_node = number(variable("SLURM_MEM_PER_NODE")); per_node > 0)
        return static_cast<std::uint64_t>(per_node);
    const int per_cpu = number(variable("SLURM_MEM_PER_CPU"));
    const auto counts = variable("SLURM_JOB_CPUS_PER_NODE");
    int fewest = 0;
    for (const auto &part : split(counts, ','))
        fewest = fewest == 0 ? number(part) : std::min(fewest, number(part));
    return per_cpu > 0 && fewest > 0 ? static_cast<std::uint64_t>(per_cpu) * static_cast<std::uint64_t>(fewest) : 0;
}

std::string memory_problem(std::uint64_t given_mib, std::optional<std::uint64_t> limit_mib) {
    constexpr std::uint64_t mib = 1u << 20, parts = 5; // a fifth less is what sites keep for their own daemons
    if (given_mib == 0 || !limit_mib || *limit_mib >= given_mib / parts * (parts - 1))
        return "";
    return fmt::format("the agents' step may use {} of memory here, but the job has {}", human_bytes(*limit_mib * mib), human_bytes(given_mib * mib));
}

int count_for_node(const std::string &counts, int node_index) {
    int at = 0;
    for (const auto &part : split(counts, ',')) {
        const auto open = part.find("(x");
        const int times = open == std::string::npos ? 1 : number(std::string_view{part}.substr(open + 2));
        if (node_index < at + times)
            return number(part);
        at += times;
    }
    return 0;
}

std::vector<int> allowed_cpus() {
    std::vector<int> out;
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0)
        return out;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(static_cast<std::size_t>(cpu), &set))
            out.push_back(cpu);
    return out;
}

std::vector<int> bindable_cpus() {
    auto cpus = allowed_cpus();
    return static_cast<int>(cpus.size()) == job_cpus() ? cpus : std::vector<int>{};
}

NodeCheck check_node(const NodeConfig &config) {
    NodeCheck out;
    const auto cpus = static_cast<int>(allowed_cpus().size());
    const int machine = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)), ours = job_cpus();
    const std::string gpus_text = own_variable("SLURM_GPUS_ON_NODE");
    out.note = fmt::format("{} of {} CPUs usable, the job has {}; GPUs of the step: {}; CUDA_VISIBLE_DEVICES={}", cpus, machine,
                           ours, gpus_text.empty() ? "not said" : gpus_text, own_variable("CUDA_VISIBLE_DEVICES", "(unset)"));
    // Nodes may claim more CPUs than there are.
    if (const int expected = std::min(ours, machine); cpus < expected)
        out.problem = fmt::format("the agents' step may use {} CPUs here, but the job has {}", cpus, ours);
    if (const int gpus = number(gpus_text); !gpus_text.empty() && gpus < config.chips_per_node)
        out.problem = fmt::format("the agents' step has {} GPUs here, but {} were asked for", gpus, config.chips_per_node);
    check_memory(config, out);
    return out;
}

} // namespace trainctl
