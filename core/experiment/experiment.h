// What the user wrote, parsed and checked: plain values with defaults filled in. Pure.
// The table of keys in keys.h is the one source for names, types, defaults and documentation.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

struct Resources {
    int nodes = 1;                       // resolved: given, or chips / per_node
    int per_node = 0;                    // chips on each node; 0: a CPU job
    std::string chip;                    // "h100", ...; empty: any
    int spares = 0;                      // nodes kept hot beyond `nodes`
    int min_nodes = 0;                   // shrink down to this; 0: never shrink
    std::optional<std::chrono::seconds> time;
    std::string partition, account, qos, constraint, reservation;
    std::optional<std::uint64_t> memory_mib; // of each node; nullopt: the cluster's default
    std::optional<int> cpus;                 // of each node
    std::vector<std::string> sbatch;         // other options, one argument each: "--exclusive"
    int fewest_nodes() const { return min_nodes > 0 && min_nodes < nodes ? min_nodes : nodes; } // that training goes on with
    bool operator==(const Resources &) const = default;
};

struct Code {
    std::string path;                 // absolute, or relative to the experiment file; empty: no snapshot
    std::vector<std::string> exclude; // patterns as in .gitignore, for folders without git
    bool operator==(const Code &) const = default;
};

struct EnvironmentSpec {
    std::string setup;                        // shell, run once on each node and attempt
    std::map<std::string, std::string> env;   // placeholders allowed in values
    std::vector<std::string> secrets;         // names of variables, taken from the submitter's environment
    bool operator==(const EnvironmentSpec &) const = default;
};

enum class LaunchKind { ranks, node, srun };
enum class LaunchPreset { none, torchrun, accelerate, deepspeed, jax };

struct Launch {
    LaunchKind kind = LaunchKind::ranks;
    LaunchPreset preset = LaunchPreset::none; // of kind node: who starts the ranks of a node
    std::string mpi;                   // of kind srun: its --mpi; empty: the site's default
    int per_node = 0;                  // processes on each node; 0: one for each chip, or 1
    std::vector<std::string> command;  // argv; placeholders allowed
    bool operator==(const Launch &) const = default;
};

// `pattern` is what `plain` was called once: runs of then are still read.
enum class CheckpointFormat { automatic, plain, torch, dcp, safetensors, huggingface, lightning, deepspeed, megatron, nemo, orbax, pattern };

struct Checkpoint {
    CheckpointFormat format = CheckpointFormat::automatic; // how checkpoints are found in dir and proven complete
    std::string dir = "checkpoints";        // relative to the run's folder unless absolute; placeholders allowed
    std::string pattern;                    // names of checkpoints in dir: exactly one {step}; empty: the format's own
    std::string marker;                     // complete when this file exists in it (folder), or beside it + this suffix (file)
    std::string manifest;                   // complete when every "<sha256 or size> <name>" of this file holds
    std::vector<std::string> resume_args;   // appended to the command when there is a checkpoint; {checkpoint}, {checkpoint_step}, {checkpoint_name}
    std::string save_signal;                // "USR1", ...; empty: the training can't save on demand
    std::chrono::seconds save_time{60};     // how long a save may take; the early signal comes this long before the limit
    int keep = 0;                           // how many complete ones to keep; 0: all
    bool operator==(const Checkpoint &) const = default;
};

struct Progress {
    std::vector<std::string> patterns; // RE2 with the named groups step, loss, rate (any of them)
    std::optional<std::int64_t> total_steps;
    bool operator==(const Progress &) const = default;
};

enum class Preflight { quick, off };

struct Health {
    Preflight preflight = Preflight::quick;
    std::string check;                         // shell, on each node with the preflight
    std::string report_node;                   // shell, on the head's node, for each bad node
    std::optional<std::uint64_t> min_free_mib = 1024; // of the file systems of run and checkpoints
    std::string stall_timeout = "auto";        // "auto", "off" or a duration: see stall_timeout_of()
    std::chrono::seconds startup_timeout{1800};// to the first step, with stall_timeout auto
    bool operator==(const Health &) const = default;
};

enum class InPlace { on, off };

enum class StandbyPolicy { automatic, on, off };

struct Recovery {
    StandbyPolicy standby = StandbyPolicy::automatic;
    int max_attempts = 50;               // the run fails for good after this many
    int no_progress_max = 3;             // and after this many in a row without a newer checkpoint
    std::chrono::seconds lease{30};      // design: how long silent ranks may live
    std::chrono::seconds heartbeat{5};   // how often agents and the head beat
    std::chrono::seconds node_timeout{10}; // a silent node is lost then, and its ranks are dead
    std::chrono::seconds backoff{5};     // before the next try after two failures in a row; doubles
    std::chrono::seconds backoff_max{300};
    int rollback_on_nan = 0;             // so many checkpoints before the newest one; 0: that ends the run
    std::chrono::seconds avoid_for{7 * 24 * 3600}; // how long nodes are remembered as bad
    int avoid_max = 16;                  // so many on suspicion at most
    std::string rules;                   // file of own rules for failures; empty: none
    InPlace in_place = InPlace::on;      // restart inside the allocation where that is possible
    bool operator==(const Recovery &) const = default;
};

struct Experiment {
    std::string name;
    std::string cluster;  // name of a profile; empty: this machine is a login node
    std::string template_path; // `template:`; empty: the built-in one
    Resources resources;
    Code code;
    EnvironmentSpec environment;
    Launch launch;
    Checkpoint checkpoint;
    Progress progress;
    Health health;
    Recovery recovery;

    int ranks_per_node() const { return launch.per_node > 0 ? launch.per_node : resources.per_node > 0 ? resources.per_node : 1; }
    bool operator==(const Experiment &) const = default;
};

} // namespace trainctl
