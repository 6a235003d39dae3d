#include "agent/launch.h"

#include "base/text.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

LaunchPlace place(int node_rank = 1) {
    LaunchPlace out;
    out.nodes = 2;
    out.node_rank = node_rank;
    out.ranks_per_node = 4;
    out.master_addr = "10.0.0.1";
    out.master_port = 29501;
    out.run = "gpt-k3f9x";
    out.attempt = 2;
    out.generation = 3;
    out.job = "77";
    return out;
}

Launch of_kind(LaunchKind kind, LaunchPreset preset = LaunchPreset::none) {
    Launch out;
    out.kind = kind;
    out.preset = preset;
    return out;
}

NodeCommand started(LaunchPreset preset, const std::string &command, const LaunchPlace &where = place()) {
    return node_command(of_kind(LaunchKind::node, preset), split(command, ' '), where);
}

} // namespace

TEST_CASE("launch: each launcher gets its own words, and the user's program the way it wants it") {
    const std::string torchrun = " --nnodes=2 --node_rank=1 --nproc_per_node=4 --rdzv_backend=static --rdzv_id=gpt-k3f9x-2-3 "
                                 "--master_addr=10.0.0.1 --master_port=29501 --max_restarts=0 ";
    const std::string accelerate = " launch --num_machines=2 --machine_rank=1 --num_processes=8 --main_process_ip=10.0.0.1 "
                                   "--main_process_port=29501 --rdzv_backend=static --max_restarts=0 ";
    const std::string deepspeed = " -u -m deepspeed.launcher.launch --world_info=eyJuMCI6WzAsMSwyLDNdLCJuMSI6WzAsMSwyLDNdfQ== "
                                  "--node_rank=1 --master_addr=10.0.0.1 --master_port=29501 ";
    struct Case {
        LaunchPreset preset;
        std::string command, expected;
    };
    const Case cases[] = {
        {LaunchPreset::torchrun, "python train.py --lr 3", "torchrun" + torchrun + "train.py --lr 3"},
        {LaunchPreset::torchrun, "python3.11 -u train.py -m x", "torchrun" + torchrun + "train.py -m x"},
        {LaunchPreset::torchrun, "python3 -u -m pkg.train a", "torchrun" + torchrun + "--module pkg.train a"},
        {LaunchPreset::torchrun, "train.py --lr 3", "torchrun" + torchrun + "train.py --lr 3"},
        {LaunchPreset::torchrun, "/venv/bin/python train.py", "/venv/bin/python -m torch.distributed.run" + torchrun + "train.py"},
        {LaunchPreset::torchrun, "--tee 3 train.py", "torchrun" + torchrun + "--tee 3 train.py"},
        {LaunchPreset::torchrun, "bash train.sh", "torchrun" + torchrun + "--no_python bash train.sh"},
        {LaunchPreset::torchrun, "python -X dev train.py", "torchrun" + torchrun + "--no_python python -X dev train.py"},
        {LaunchPreset::torchrun, "/opt/pythonic train.py", "torchrun" + torchrun + "--no_python /opt/pythonic train.py"},
        {LaunchPreset::accelerate, "python train.py --lr 3", "accelerate" + accelerate + "--multi_gpu train.py --lr 3"},
        {LaunchPreset::accelerate, "python -m pkg", "accelerate" + accelerate + "--multi_gpu --module pkg"},
        {LaunchPreset::accelerate, "/v/python3 a.py", "/v/python3 -m accelerate.commands.accelerate_cli" + accelerate + "--multi_gpu a.py"},
        {LaunchPreset::accelerate, "--config_file=fsdp.yaml train.py", "accelerate" + accelerate + "--config_file=fsdp.yaml train.py"},
        {LaunchPreset::accelerate, "--use-fsdp train.py", "accelerate" + accelerate + "--use-fsdp train.py"},
        {LaunchPreset::accelerate, "--mixed_precision bf16 train.py", "accelerate" + accelerate + "--multi_gpu --mixed_precision bf16 train.py"},
        {LaunchPreset::deepspeed, "python train.py --lr 3", "python" + deepspeed + "train.py --lr 3"},
        {LaunchPreset::deepspeed, "train.py", "python3" + deepspeed + "train.py"},
        {LaunchPreset::deepspeed, "/v/python -m pkg", "/v/python" + deepspeed + "--module pkg"},
        {LaunchPreset::deepspeed, "bash train.sh", "python3" + deepspeed + "--no_python --no_local_rank bash train.sh"},
        {LaunchPreset::jax, "python -m pkg a", "python -m pkg a"},
        {LaunchPreset::none, "torchrun --standalone train.py", "torchrun --standalone train.py"},
    };
    for (const auto &one : cases) {
        CAPTURE(one.command);
        const auto got = started(one.preset, one.command);
        CHECK(join(got.command, " ") == one.expected);
        CHECK(got.processes == 1);
        CHECK(got.environment.at("TRAINCTL_RANKS_PER_NODE") == "4");
    }
}

TEST_CASE("launch: accelerate is not told to distribute what is one process") {
    auto alone = place(0);
    alone.nodes = alone.ranks_per_node = 1;
    CHECK(join(started(LaunchPreset::accelerate, "train.py", alone).command, " ").find("--multi_gpu") == std::string::npos);
}

TEST_CASE("launch: JAX finds coordinator, processes and devices in its environment") {
    const Environment expected{{"JAX_COORDINATOR_ADDRESS", "10.0.0.1:29501"}, {"JAX_NUM_PROCESSES", "2"}, {"JAX_PROCESS_ID", "1"},
                               {"JAX_LOCAL_DEVICE_IDS", "0,1,2,3"}, {"SLURM_JOB_ID", "77"}, {"SLURM_STEP_NODELIST", "10.0.0.1"},
                               {"SLURM_STEP_NUM_NODES", "2"}, {"SLURM_NTASKS", "2"}, {"SLURM_PROCID", "1"}, {"SLURM_LOCALID", "0"},
                               {"TRAINCTL_NODES", "2"}, {"TRAINCTL_NODE_RANK", "1"}, {"TRAINCTL_RANKS_PER_NODE", "4"}};
    CHECK(started(LaunchPreset::jax, "python train.py").environment == expected);
}

TEST_CASE("launch: a new generation meets under another name") {
    auto next = place();
    ++next.generation;
    CHECK(started(LaunchPreset::torchrun, "train.py").command != started(LaunchPreset::torchrun, "train.py", next).command);
}

TEST_CASE("launch: of the other kinds the command is started as it is, once a rank") {
    for (const auto kind : {LaunchKind::ranks, LaunchKind::srun}) {
        const auto got = node_command(of_kind(kind), {"python", "train.py"}, place());
        CHECK(got.command == std::vector<std::string>{"python", "train.py"});
        CHECK(got.processes == 4);
        CHECK(got.environment.count("JAX_PROCESS_ID") == 0);
    }
}
