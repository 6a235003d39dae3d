#include "experiment/keys.h"

#include "experiment/checks.h"
#include "experiment/key_rows.h"

namespace trainctl {

namespace {

using Row = KeyRow<ExperimentDraft>;
using Draft = ExperimentDraft;

constexpr std::int64_t max_nodes = 100000; // more than any Slurm cluster has
constexpr std::int64_t max_per_node = 1024;
constexpr std::int64_t max_cpus = 65536;
constexpr std::int64_t max_memory_mib = std::int64_t{1} << 30; // 1 PiB a node
constexpr std::int64_t hour = 3600;
constexpr std::int64_t max_time = 1000 * 24 * hour;

std::vector<Row> top_rows() {
    return {
        {{.path = "name",
          .type = KeyType::text,
          .required = true,
          .check = check_run_name,
          .doc = "What the run is called: lower-case letters, digits and '-', at most 32. Its id begins with it.",
          .example = "char-gpt"},
         [](Draft &d) -> Slot { return &d.experiment.name; }},
        {{.path = "cluster",
          .type = KeyType::text,
          .placeholders = env_placeholder,
          .check = check_word,
          .doc = "The cluster profile to use. Without it, the profile 'default', else this machine as a login node.",
          .example = "sandbox"},
         [](Draft &d) -> Slot { return &d.experiment.cluster; }},
        {{.path = "template",
          .type = KeyType::path,
          .placeholders = env_placeholder,
          .doc = "A batch script template of your own instead of the built-in one.",
          .example = "my-site.sbatch.mustache"},
         [](Draft &d) -> Slot { return &d.experiment.template_path; }},
    };
}

std::vector<Row> size_rows() {
    return {
        {{.path = "resources.nodes",
          .type = KeyType::integer,
          .min = 1,
          .max = max_nodes,
          .doc = "How many nodes train. Required, unless chips says how many chips.",
          .example = "2"},
         [](Draft &d) -> Slot { return &d.experiment.resources.nodes; }},
        {{.path = "resources.chips",
          .type = KeyType::integer,
          .min = 1,
          .max = max_nodes * max_per_node,
          .doc = "How many chips train in all, instead of nodes: a multiple of per_node.",
          .example = "16"},
         [](Draft &d) -> Slot { return &d.chips; }},
        {{.path = "resources.per_node",
          .type = KeyType::integer,
          .otherwise = "0",
          .min = 0,
          .max = max_per_node,
          .doc = "Chips on each node. 0: a job on CPUs.",
          .example = "8"},
         [](Draft &d) -> Slot { return &d.experiment.resources.per_node; }},
        {{.path = "resources.chip",
          .type = KeyType::text,
          .check = check_chip,
          .doc = "The type of chip, as Slurm's gres names it. Without it, any.",
          .example = "h100"},
         [](Draft &d) -> Slot { return &d.experiment.resources.chip; }},
        {{.path = "resources.spares",
          .type = KeyType::integer,
          .otherwise = "0",
          .min = 0,
          .max = max_nodes,
          .doc = "Nodes kept hot beyond nodes, to step in for one that is lost.",
          .example = "1"},
         [](Draft &d) -> Slot { return &d.experiment.resources.spares; }},
        {{.path = "resources.min_nodes",
          .type = KeyType::integer,
          .otherwise = "0",
          .min = 0,
          .max = max_nodes,
          .doc = "Go on with as few nodes as this when nodes are lost. 0: never with fewer than nodes.",
          .example = "2"},
         [](Draft &d) -> Slot { return &d.experiment.resources.min_nodes; }},
        {{.path = "resources.time",
          .type = KeyType::duration,
          .min = 1,
          .max = max_time,
          .doc = "Time limit of each attempt. Without it, the partition's own.",
          .example = "24h"},
         [](Draft &d) -> Slot { return &d.experiment.resources.time; }},
        {{.path = "resources.mem",
          .type = KeyType::size,
          .min = 1,
          .max = max_memory_mib,
          .doc = "Memory of each node. Without it, the cluster's default.",
          .example = "64G"},
         [](Draft &d) -> Slot { return &d.experiment.resources.memory_mib; }},
        {{.path = "resources.cpus",
          .type = KeyType::integer,
          .min = 1,
          .max = max_cpus,
          .doc = "CPUs of each node. Without it, the cluster's default.",
          .example = "32"},
         [](Draft &d) -> Slot { return &d.experiment.resources.cpus; }},
    };
}

std::vector<Row> place_rows() {
    return {
        {{.path = "resources.partition",
          .type = KeyType::text,
          .placeholders = env_placeholder,
          .check = check_word,
          .doc = "Slurm's partition. Without it, the cluster profile's, else Slurm's default.",
          .example = "gpu"},
         [](Draft &d) -> Slot { return &d.experiment.resources.partition; }},
        {{.path = "resources.account",
          .type = KeyType::text,
          .placeholders = env_placeholder,
          .check = check_word,
          .doc = "Slurm's account to charge.",
          .example = "lab"},
         [](Draft &d) -> Slot { return &d.experiment.resources.account; }},
        {{.path = "resources.qos",
          .type = KeyType::text,
          .placeholders = env_placeholder,
          .check = check_word,
          .doc = "Slurm's quality of service.",
          .example = "normal"},
         [](Draft &d) -> Slot { return &d.experiment.resources.qos; }},
        {{.path = "resources.constraint",
          .type = KeyType::text,
          .placeholders = env_placeholder,
          .check = check_word,
          .doc = "Features that the nodes must have, as sbatch --constraint takes them.",
          .example = "infiniband&nvme"},
         [](Draft &d) -> Slot { return &d.experiment.resources.constraint; }},
        {{.path = "resources.reservation",
          .type = KeyType::text,
          .placeholders = env_placeholder,
          .check = check_word,
          .doc = "A reservation to run in.",
          .example = "maintenance"},
         [](Draft &d) -> Slot { return &d.experiment.resources.reservation; }},
        {{.path = "resources.sbatch",
          .type = KeyType::options,
          .placeholders = env_placeholder,
          .check = check_sbatch_option,
          .doc = "Other options of sbatch: a list of --name=value, or a map of names and values.",
          .example = "[--exclusive, --mail-type=FAIL]"},
         [](Draft &d) -> Slot { return &d.experiment.resources.sbatch; }},
    };
}

std::vector<Row> content_rows() {
    return {
        {{.path = "code.path",
          .type = KeyType::path,
          .placeholders = env_placeholder,
          .doc = "Folder of the code that is sent along, from the folder of this file. Without it, none is sent.",
          .example = "."},
         [](Draft &d) -> Slot { return &d.experiment.code.path; }},
        {{.path = "code.exclude",
          .type = KeyType::list,
          .doc = "What is not sent, as patterns of .gitignore, for folders without git.",
          .example = "[data/, \"*.pt\"]"},
         [](Draft &d) -> Slot { return &d.experiment.code.exclude; }},
        {{.path = "environment.setup",
          .type = KeyType::shell,
          .doc = "Shell text, run by bash once on each node and attempt; the ranks get the environment that it leaves.",
          .example = "source .venv/bin/activate"},
         [](Draft &d) -> Slot { return &d.experiment.environment.setup; }},
        {{.path = "environment.env",
          .type = KeyType::map,
          .placeholders = env_placeholder | run_placeholder | attempt_placeholder | checkpoint_dir_placeholder,
          .check = check_variable,
          .doc = "Variables for the ranks.",
          .example = "{OMP_NUM_THREADS: 8}"},
         [](Draft &d) -> Slot { return &d.experiment.environment.env; }},
        {{.path = "environment.secrets",
          .type = KeyType::list,
          .secret = true,
          .check = check_secret,
          .doc = "Names of variables whose values are taken from your environment at submit, and reach the ranks only.",
          .example = "[WANDB_API_KEY]"},
         [](Draft &d) -> Slot { return &d.experiment.environment.secrets; }},
        {{.path = "launch.kind",
          .type = KeyType::enumeration,
          .otherwise = "ranks",
          .allowed = {"ranks", "node", "srun"},
          .doc = "ranks: the command is started once for each rank. node: once on each node (torchrun and the like). srun: "
                 "once for each rank by srun, for MPI.",
          .example = "ranks"},
         [](Draft &d) -> Slot { return enum_slot(d.experiment.launch.kind); }},
        {{.path = "launch.preset",
          .type = KeyType::enumeration,
          .otherwise = "none",
          .allowed = {"none", "torchrun", "accelerate", "deepspeed", "jax"},
          .doc = "With kind node: the launcher that is put before the command, with the rendezvous of each generation.",
          .example = "torchrun"},
         [](Draft &d) -> Slot { return enum_slot(d.experiment.launch.preset); }},
        {{.path = "launch.mpi",
          .type = KeyType::text,
          .check = check_word,
          .doc = "With kind srun: srun's --mpi. Without it, the site's default.",
          .example = "pmix"},
         [](Draft &d) -> Slot { return &d.experiment.launch.mpi; }},
        {{.path = "launch.per_node",
          .type = KeyType::integer,
          .otherwise = "0",
          .min = 0,
          .max = max_per_node,
          .doc = "Ranks on each node. 0: one for each chip, or one.",
          .example = "8"},
         [](Draft &d) -> Slot { return &d.experiment.launch.per_node; }},
        {{.path = "launch.command",
          .type = KeyType::command,
          .required = true,
          .placeholders = env_placeholder | run_placeholder | attempt_placeholder | checkpoint_dir_placeholder,
          .doc = "The training: a list of words, or one text that is split like a shell's line. No shell runs it.",
          .example = "python train.py"},
         [](Draft &d) -> Slot { return &d.experiment.launch.command; }},
    };
}

std::vector<Row> checkpoint_rows() {
    return {
        {{.path = "checkpoint.dir",
          .type = KeyType::path,
          .otherwise = "checkpoints",
          .placeholders = env_placeholder | run_placeholder,
          .doc = "Folder of the checkpoints, from the run's own folder. {checkpoint_dir} is its absolute path.",
          .example = "checkpoints"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.dir; }},
        {{.path = "checkpoint.format",
          .type = KeyType::enumeration,
          .otherwise = "auto",
          .allowed = {"auto", "plain", "torch", "dcp", "safetensors", "huggingface", "lightning", "deepspeed", "megatron", "nemo", "orbax", "pattern"},
          .doc = "Who writes the checkpoints, and so how a complete one is told. auto: by what is there. plain (once called "
                 "pattern): by marker or manifest. dcp: torch.distributed.checkpoint.",
          .example = "megatron"},
         [](Draft &d) -> Slot { return enum_slot(d.experiment.checkpoint.format); }},
        {{.path = "checkpoint.pattern",
          .type = KeyType::text,
          .check = check_checkpoint_pattern,
          .doc = "Name of a checkpoint, a folder or a file, with {step} for its number and * for any text. Without it: the "
                 "format's own names; step-{step} of plain ones.",
          .example = "step-{step}.pt"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.pattern; }},
        {{.path = "checkpoint.marker",
          .type = KeyType::text,
          .check = check_file_suffix,
          .doc = "A checkpoint is complete when this file is in it; beside a file, when its name with this added is.",
          .example = ".done"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.marker; }},
        {{.path = "checkpoint.manifest",
          .type = KeyType::text,
          .check = check_file_suffix,
          .doc = "Likewise, and each of the file's lines '<sha256 or size> <name>' must hold.",
          .example = "MANIFEST"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.manifest; }},
        {{.path = "checkpoint.resume_args",
          .type = KeyType::command,
          .placeholders = env_placeholder | run_placeholder | attempt_placeholder | checkpoint_placeholder |
                          checkpoint_dir_placeholder,
          .doc = "Added to the command when there is a checkpoint to resume from: {checkpoint} is its path, {checkpoint_step} "
                 "its step, {checkpoint_name} its name in checkpoint.dir. Megatron-LM: --load {checkpoint_dir} --ckpt-step {checkpoint_step}; "
                 "Trainer: --resume_from_checkpoint {checkpoint}.",
          .example = "--resume {checkpoint}"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.resume_args; }},
        {{.path = "checkpoint.save_signal",
          .type = KeyType::signal,
          .allowed = {"USR1", "USR2", "TERM", "INT", "HUP", "QUIT", "ALRM", "WINCH"},
          .doc = "Signal at which the training saves and ends; launchers that know nothing of it are passed by. Without it, no save on demand.",
          .example = "USR1"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.save_signal; }},
        {{.path = "checkpoint.save_time",
          .type = KeyType::duration,
          .otherwise = "60s",
          .min = 1,
          .max = 24 * hour,
          .doc = "How long a save may take: the signal comes this long before the time limit.",
          .example = "2m"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.save_time; }},
        {{.path = "checkpoint.keep",
          .type = KeyType::integer,
          .otherwise = "0",
          .min = 0,
          .max = 1000000,
          .doc = "How many complete checkpoints to keep. 0: all.",
          .example = "3"},
         [](Draft &d) -> Slot { return &d.experiment.checkpoint.keep; }},
    };
}

} // namespace

const std::vector<KeyRow<ExperimentDraft>> &experiment_keys() {
    static const std::vector<Row> rows = [] {
        std::vector<Row> all;
        for (const auto &part :
             {top_rows(), size_rows(), place_rows(), content_rows(), checkpoint_rows(), policy_rows()})
            all.insert(all.end(), part.begin(), part.end());
        return all;
    }();
    return rows;
}

} // namespace trainctl
