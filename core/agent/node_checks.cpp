#include "agent/node_checks.h"

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

} // namespace

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
    return out;
}

} // namespace trainctl
