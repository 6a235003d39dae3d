#include "agent/launch.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>

namespace trainctl {

namespace {

using Words = std::vector<std::string>;

// A user's command as launchers for Python see it.
struct Program {
    enum class Form { options, script, module, other } form = Form::other;
    std::string python; // as the command names it; empty: it does not
    Words words;        // options and what follows; the script, or the module, and its arguments; or the whole command
};

bool is_python(const std::string &word) {
    const auto slash = word.rfind('/');
    const auto name = slash == std::string::npos ? word : word.substr(slash + 1);
    return starts_with(name, "python") && name.find_first_not_of("0123456789.", 6) == std::string::npos;
}

Program parse_program(const Words &command) {
    using Form = Program::Form;
    if (command.empty() || starts_with(command[0], "-"))
        return {Form::options, "", command};
    if (ends_with(command[0], ".py"))
        return {Form::script, "", command};
    if (!is_python(command[0]))
        return {Form::other, "", command};
    std::size_t at = 1;
    while (at < command.size() && command[at] == "-u") // launchers pass it anyway
        ++at;
    const auto rest = [&](std::size_t from) { return Words(command.begin() + static_cast<std::ptrdiff_t>(from), command.end()); };
    if (at + 1 < command.size() && command[at] == "-m")
        return {Form::module, command[0], rest(at + 1)};
    if (at < command.size() && !starts_with(command[at], "-"))
        return {Form::script, command[0], rest(at)};
    return {Form::other, command[0], command}; // other options of the interpreter must not get lost
}

// The launcher of the interpreter that the command names by its path, else the one in PATH.
Words launcher(const Program &program, Words in_path, const char *module) {
    if (program.python.find('/') == std::string::npos)
        return in_path;
    return {program.python, "-m", module};
}

void add(Words &to, const Words &words) { to.insert(to.end(), words.begin(), words.end()); }

// Options and script in the spelling that all launchers of torch's family share.
void add_program(Words &to, const Program &program, const Words &for_other) {
    if (program.form == Program::Form::module)
        to.push_back("--module");
    if (program.form == Program::Form::other)
        add(to, for_other);
    add(to, program.words);
}

// torch.distributed.run: https://docs.pytorch.org/docs/stable/elastic/run.html. Underscores, as versions before 2.0 know
// no other spelling; the static rendezvous, as c10d ignores --node_rank and deals out ranks as nodes arrive.
Words torchrun(const Program &program, const LaunchPlace &place) {
    Words out = launcher(program, {"torchrun"}, "torch.distributed.run");
    add(out, {fmt::format("--nnodes={}", place.nodes), fmt::format("--node_rank={}", place.node_rank),
              fmt::format("--nproc_per_node={}", place.ranks_per_node), "--rdzv_backend=static",
              fmt::format("--rdzv_id={}-{}-{}", place.run, place.attempt, place.generation),
              "--master_addr=" + place.master_addr, fmt::format("--master_port={}", place.master_port), "--max_restarts=0"});
    add_program(out, program, {"--no_python"});
    return out;
}

// accelerate launch: https://huggingface.co/docs/accelerate/package_reference/cli. Without --multi_gpu it starts one
// process that knows of no other where a node has one GPU or none; a user's own choice of paradigm stands.
Words accelerate(const Program &program, const LaunchPlace &place) {
    constexpr std::array<std::string_view, 7> paradigms{"--multi_gpu", "--cpu", "--tpu", "--use_deepspeed", "--use_fsdp",
                                                        "--use_megatron_lm", "--config_file"};
    const int ranks = place.nodes * place.ranks_per_node;
    Words out = launcher(program, {"accelerate"}, "accelerate.commands.accelerate_cli");
    add(out, {"launch", fmt::format("--num_machines={}", place.nodes), fmt::format("--machine_rank={}", place.node_rank),
              fmt::format("--num_processes={}", ranks), "--main_process_ip=" + place.master_addr,
              fmt::format("--main_process_port={}", place.master_port), "--rdzv_backend=static", "--max_restarts=0"});
    const bool chosen = program.form == Program::Form::options &&
                        std::any_of(program.words.begin(), program.words.end(), [&](std::string word) {
                            std::replace(word.begin(), word.end(), '-', '_');
                            if (starts_with(word, "__"))
                                word.replace(0, 2, "--");
                            return std::find(paradigms.begin(), paradigms.end(), word.substr(0, word.find('='))) != paradigms.end();
                        });
    if (ranks > 1 && !chosen)
        out.push_back("--multi_gpu");
    add_program(out, program, {"--no_python"});
    return out;
}

std::string base64_url(std::string_view bytes) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const auto byte = [&](std::size_t i) { return at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u; };
        const unsigned three = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (std::size_t i = 0; i < 4; ++i)
            out += at + i <= bytes.size() ? digits[three >> (18 - 6 * i) & 63] : '=';
    }
    return out;
}

// DeepSpeed's launcher of one node, which `deepspeed` itself starts through pdsh: no SSH, no hostfile, and in every
// version, while `deepspeed --no_ssh` came with 0.14.3 and still wants a hostfile. World info: the GPUs of each node.
Words deepspeed(const Program &program, const LaunchPlace &place) {
    Words gpus;
    for (int gpu = 0; gpu < place.ranks_per_node; ++gpu)
        gpus.push_back(std::to_string(gpu));
    Words nodes;
    for (int node = 0; node < place.nodes; ++node)
        nodes.push_back(fmt::format("\"n{}\":[{}]", node, join(gpus, ",")));
    Words out{program.python.empty() ? "python3" : program.python, "-u", "-m", "deepspeed.launcher.launch",
              "--world_info=" + base64_url("{" + join(nodes, ",") + "}"), fmt::format("--node_rank={}", place.node_rank),
              "--master_addr=" + place.master_addr, fmt::format("--master_port={}", place.master_port)};
    add_program(out, program, {"--no_python", "--no_local_rank"}); // it would put --local_rank before the program's own words
    return out;
}

// What jax.distributed.initialize() finds without arguments: the coordinator and the devices in variables of its own,
// number and id of the process only in those of a cluster that it knows (jax/_src/clusters/slurm_cluster.py). The JAX_
// names of those two are what scripts read that pass them on.
Environment jax(const LaunchPlace &place) {
    Words devices;
    for (int device = 0; device < place.ranks_per_node; ++device)
        devices.push_back(std::to_string(device));
    const auto count = std::to_string(place.nodes), id = std::to_string(place.node_rank);
    Environment out{{"JAX_COORDINATOR_ADDRESS", fmt::format("{}:{}", place.master_addr, place.master_port)},
                    {"JAX_NUM_PROCESSES", count}, {"JAX_PROCESS_ID", id}, {"JAX_LOCAL_DEVICE_IDS", join(devices, ",")}};
    if (!place.job.empty())
        for (const auto &[name, value] : Environment{{"SLURM_JOB_ID", place.job}, {"SLURM_STEP_NODELIST", place.master_addr},
                                                     {"SLURM_STEP_NUM_NODES", count}, {"SLURM_NTASKS", count},
                                                     {"SLURM_PROCID", id}, {"SLURM_LOCALID", "0"}})
            out[name] = value;
    return out;
}

} // namespace

NodeCommand node_command(const Launch &launch, const Words &command, const LaunchPlace &place) {
    NodeCommand out;
    out.command = command;
    out.environment = {{"TRAINCTL_NODES", std::to_string(place.nodes)},
                       {"TRAINCTL_NODE_RANK", std::to_string(place.node_rank)},
                       {"TRAINCTL_RANKS_PER_NODE", std::to_string(place.ranks_per_node)}};
    out.processes = launch.kind == LaunchKind::node ? 1 : place.ranks_per_node;
    if (launch.kind != LaunchKind::node)
        return out;
    const auto program = parse_program(command);
    switch (launch.preset) {
    case LaunchPreset::none: break;
    case LaunchPreset::torchrun: out.command = torchrun(program, place); break;
    case LaunchPreset::accelerate: out.command = accelerate(program, place); break;
    case LaunchPreset::deepspeed: out.command = deepspeed(program, place); break;
    case LaunchPreset::jax: out.environment.merge(jax(place)); break;
    }
    return out;
}

} // namespace trainctl
