#include "cluster/profile_keys.h"

#include "base/text.h"
#include "experiment/checks.h"
#include "experiment/yaml_tree.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

using Row = KeyRow<Profile>;

constexpr std::size_t longest_name = 64;

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

std::string check_root(const std::string &text) {
    const bool ok =
        text[0] == '/' || text == "~" || starts_with(text, "~/") || text == "$HOME" || starts_with(text, "$HOME/");
    return ok ? "" : fmt::format("must begin with '/', '~/' or '$HOME/', not '{}'", text);
}

// Other rules than for an experiment's variables: SLURM_CONF is what this is for.
std::string check_name_of_variable(const std::string &text) {
    const bool ok = !text.empty() && !(text[0] >= '0' && text[0] <= '9') &&
                    std::all_of(text.begin(), text.end(), [](char c) { return is_letter_or_digit(c) || c == '_'; });
    return ok ? ""
              : fmt::format("'{}' can't be the name of a variable: letters, digits and '_', not a digit first", text);
}

} // namespace

const std::vector<KeyRow<Profile>> &profile_keys() {
    static const std::vector<Row> rows{
        {{.path = "via",
          .type = KeyType::enumeration,
          .otherwise = "local",
          .allowed = {"local", "ssh"},
          .doc = "local: this machine can call sbatch. ssh: a login node is reached over SSH.",
          .example = "ssh"},
         [](Profile &p) -> Slot { return enum_slot(p.via); }},
        {{.path = "host",
          .type = KeyType::text,
          .check = check_word,
          .doc = "For ssh: a Host of ssh_config, or a host name.",
          .example = "login.cluster.example"},
         [](Profile &p) -> Slot { return &p.host; }},
        {{.path = "ssh_config",
          .type = KeyType::path,
          .doc = "For ssh: another file than ~/.ssh/config.",
          .example = "~/.ssh/cluster_config"},
         [](Profile &p) -> Slot { return &p.ssh_config; }},
        {{.path = "root",
          .type = KeyType::path,
          .otherwise = "~/trainctl",
          .check = check_root,
          .doc = "Where runs live, on the cluster's shared file system.",
          .example = "/shared/me/trainctl"},
         [](Profile &p) -> Slot { return &p.root; }},
        {{.path = "environment",
          .type = KeyType::map,
          .check = check_name_of_variable,
          .doc = "Variables for Slurm's commands there, such as SLURM_CONF and PATH.",
          .example = "{SLURM_CONF: /etc/slurm/slurm.conf}"},
         [](Profile &p) -> Slot { return &p.environment; }},
        {{.path = "partition",
          .type = KeyType::text,
          .check = check_word,
          .doc = "For experiments that name none.",
          .example = "gpu"},
         [](Profile &p) -> Slot { return &p.partition; }},
        {{.path = "account",
          .type = KeyType::text,
          .check = check_word,
          .doc = "For experiments that name none.",
          .example = "lab"},
         [](Profile &p) -> Slot { return &p.account; }},
        {{.path = "qos",
          .type = KeyType::text,
          .check = check_word,
          .doc = "For experiments that name none.",
          .example = "normal"},
         [](Profile &p) -> Slot { return &p.qos; }},
        {{.path = "failure_rules",
          .type = KeyType::path,
          .doc = "A file of rules and classes for failures there, on top of the built-in ones and below recovery.rules.",
          .example = "site-failures.yaml"},
         [](Profile &p) -> Slot { return &p.failure_rules; }},
        {{.path = "agent_network",
          .type = KeyType::enumeration,
          .otherwise = "auto",
          .allowed = {agent_network_names.begin(), agent_network_names.end()},
          .doc = "How agents on the nodes reach the first node's: tcp, srun (through srun's streams), or auto: tcp, else srun.",
          .example = "srun"},
         [](Profile &p) -> Slot { return enum_slot(p.agent_network); }},
        // sbatch sleeps 1, 2, ... 15 s between its tries, and a MessageTimeout (10 s by default) may end each of them.
        {{.path = "submit_retry",
          .type = KeyType::duration,
          .otherwise = "150s",
          .min = 5,
          .max = 3600,
          .doc = "How long sbatch there goes on trying while the controller is silent. A submit whose answer was lost is "
                 "repeated only after this time without its job; longer where slurm.conf has a long MessageTimeout.",
          .example = "5m"},
         [](Profile &p) -> Slot { return &p.submit_retry; }},
    };
    return rows;
}

std::string check_profile_name(const std::string &text) {
    const bool ok = !text.empty() && text.size() <= longest_name && is_letter_or_digit(text[0]) &&
                    std::all_of(text.begin(), text.end(),
                                [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.'; });
    return ok ? ""
              : fmt::format("a cluster's name has letters, digits, '-', '_' and '.', at most {} of them, not '{}'",
                            longest_name, text);
}

std::string emit_profile(const Profile &profile, int indent) {
    Profile copy = profile;
    const auto lines = lines_of(profile_keys(), copy);
    return std::string(static_cast<std::size_t>(indent), ' ') + yaml_scalar(profile.name) + ":\n" +
           yaml_file(lines, indent + 2);
}

} // namespace trainctl
