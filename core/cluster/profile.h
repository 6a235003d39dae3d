// A cluster as trainctl knows it: how to reach it, where runs live, defaults for experiments. Pure values;
// load_profiles() reads ~/.config/trainctl/clusters.yaml.
#pragma once

#include "base/result.h"
#include "cluster/agent_network.h"
#include "experiment/experiment.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

enum class Via { local, ssh };

struct Profile {
    std::string name;
    Via via = Via::local;
    std::string host;        // for ssh: a Host of ssh_config, or a host name
    std::string ssh_config;  // another ssh_config than ~/.ssh/config; empty: that one
    std::string root;        // run root on the cluster's shared file system; "~/" and "$HOME" are the remote user's
    std::map<std::string, std::string> environment; // for Slurm's commands there: SLURM_CONF, PATH
    std::string partition, account, qos;            // defaults for experiments
    std::string failure_rules;                      // file of rules for failures there; relative to the profiles' folder
    AgentNetwork agent_network = AgentNetwork::automatic;
    std::optional<std::chrono::seconds> submit_retry; // sbatch itself may go on trying for so long; nothing: as usual

    bool operator==(const Profile &) const = default;
};

// The profile for clusters without one: this machine is a login node, runs live in ~/trainctl.
Profile login_node_profile();

// $XDG_CONFIG_HOME/trainctl/clusters.yaml or ~/.config/trainctl/clusters.yaml.
std::string profiles_path();

// All profiles of a file; no file: none. Errors are `file:line:col: message` lines in one Error.
Result<std::map<std::string, Profile>> load_profiles(const std::string &path);

// The named one ("" is login_node_profile() unless a profile called "default" exists).
// Error not_found with "did you mean".
Result<Profile> find_profile(const std::string &path, const std::string &name);

// A root that begins with "~" or "$HOME", in this home folder; others as they are.
std::string expand_home(const std::string &root, const std::string &home);

// Fills in partition, account and qos where the experiment names none.
void apply_defaults(Experiment &experiment, const Profile &profile);

// Adds or replaces profiles in a file and keeps the others and their comments' place in the file.
Result<void> save_profiles(const std::string &path, const std::vector<Profile> &add,
                           const std::vector<std::string> &remove);

} // namespace trainctl
