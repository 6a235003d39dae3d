#include "experiment/checks.h"

#include "base/text.h"
#include "experiment/values.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <re2/re2.h>

namespace trainctl {

namespace {

constexpr std::size_t longest_name = 32; // the run's id adds a suffix, and job names carry the id

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool valid_name(const std::string &text) {
    return !text.empty() && text.size() <= longest_name && text.front() != '-' && text.back() != '-' &&
           std::all_of(text.begin(), text.end(), [](char c) { return is_lower(c) || is_digit(c) || c == '-'; });
}

std::string suggested_name(const std::string &text) {
    std::string out;
    for (const char c : text) {
        if (is_upper(c))
            out += static_cast<char>(c - 'A' + 'a');
        else if (is_lower(c) || is_digit(c))
            out += c;
        else if (!out.empty() && out.back() != '-')
            out += '-';
    }
    out.resize(std::min(out.size(), longest_name));
    while (!out.empty() && out.back() == '-')
        out.pop_back();
    return out;
}

bool is_identifier(const std::string &text) {
    const auto letter = [](char c) { return is_lower(c) || is_upper(c) || c == '_'; };
    return !text.empty() && letter(text[0]) &&
           std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || is_digit(c); });
}

struct OwnedOption {
    const char *name;
    const char *instead;
};

// Options that trainctl gives itself, by key or because the protocol needs them, and those after which sbatch does or says
// something else.
constexpr const char *ours = "trainctl sets it itself, and needs it as it is";
constexpr std::array owned_options{
    OwnedOption{"job-name", ours},
    OwnedOption{"dependency", ours},
    OwnedOption{"output", ours},
    OwnedOption{"error", ours},
    OwnedOption{"input", ours},
    OwnedOption{"open-mode", ours},
    OwnedOption{"chdir", ours},
    OwnedOption{"requeue", ours},
    OwnedOption{"no-requeue", ours},
    OwnedOption{"no-kill", ours},
    OwnedOption{"kill-on-invalid-dep", ours},
    OwnedOption{"parsable", ours},
    OwnedOption{"propagate", ours},
    OwnedOption{"comment", ours},
    OwnedOption{"uid", ours},
    OwnedOption{"gid", ours},
    OwnedOption{"quiet", ours},
    OwnedOption{"workdir", ours},
    OwnedOption{"help", "sbatch submits nothing then"},
    OwnedOption{"usage", "sbatch submits nothing then"},
    OwnedOption{"version", "sbatch submits nothing then"},
    OwnedOption{"wait", "use `trainctl submit --wait`"},
    OwnedOption{"wrap", "use launch.command"},
    OwnedOption{"array", "one experiment is one run"},
    OwnedOption{"test-only", "use `trainctl render` or `trainctl check`"},
    OwnedOption{"export", "use environment.env"},
    OwnedOption{"export-file", "use environment.env"},
    OwnedOption{"get-user-env", "use environment.setup"},
    OwnedOption{"signal", "use checkpoint.save_signal and checkpoint.save_time"},
    OwnedOption{"time", "use resources.time"},
    OwnedOption{"time-min", "use resources.time"},
    OwnedOption{"nodes", "use resources.nodes"},
    OwnedOption{"ntasks", "use launch.per_node"},
    OwnedOption{"ntasks-per-node", "use launch.per_node"},
    OwnedOption{"ntasks-per-gpu", "use launch.per_node"},
    OwnedOption{"cpus-per-task", "use resources.cpus"},
    OwnedOption{"cpus-per-gpu", "use resources.cpus"},
    OwnedOption{"mincpus", "use resources.cpus"},
    OwnedOption{"mem", "use resources.mem"},
    OwnedOption{"mem-per-cpu", "use resources.mem"},
    OwnedOption{"mem-per-gpu", "use resources.mem"},
    OwnedOption{"gpus", "use resources.per_node"},
    OwnedOption{"gpus-per-node", "use resources.per_node"},
    OwnedOption{"gpus-per-task", "use resources.per_node"},
    OwnedOption{"partition", "use resources.partition"},
    OwnedOption{"account", "use resources.account"},
    OwnedOption{"qos", "use resources.qos"},
    OwnedOption{"constraint", "use resources.constraint"},
    OwnedOption{"reservation", "use resources.reservation"},
    OwnedOption{"clusters", "use a cluster profile (`cluster:`)"},
};

} // namespace

std::string check_run_name(const std::string &text) {
    if (valid_name(text))
        return "";
    const std::string better = suggested_name(text);
    return fmt::format("must be lower-case letters, digits and '-', at most {} of them, not '{}'{}", longest_name, text,
                       better.empty() ? "" : fmt::format(": write '{}'?", better));
}

std::string check_word(const std::string &text) {
    if (text[0] == '-')
        return fmt::format("can't begin with '-': '{}'", text);
    return text.find(' ') == std::string::npos ? "" : fmt::format("can't have a blank in it: '{}'", text);
}

std::string check_chip(const std::string &text) {
    const bool ok = text[0] != '-' && std::all_of(text.begin(), text.end(), [](char c) {
                        return is_lower(c) || is_upper(c) || is_digit(c) || std::strchr("_.-", c) != nullptr;
                    });
    return ok ? "" : fmt::format("must be a type of chip as Slurm names it, such as h100, not '{}'", text);
}

std::string check_sbatch_option(const std::string &text) {
    if (!starts_with(text, "--"))
        return fmt::format("'{}' must be a long option of sbatch: --name or --name=value", text);
    const std::string name = text.substr(2, text.find('=') - 2);
    if (name.empty() ||
        !std::all_of(name.begin(), name.end(), [](char c) { return is_lower(c) || is_digit(c) || c == '-'; }))
        return fmt::format("'{}' must be one option: --name or --name=value (each option is an item of its own)", text);
    // sbatch takes unambiguous beginnings of names too ("--job" for "--job-name").
    for (const auto &option : owned_options)
        if (name == option.name)
            return fmt::format("--{} can't be given here: {}", name, option.instead);
    constexpr std::array free_options{"exclude",    "nodelist", "exclusive", "gres", "mail-type",
                                      "mail-user",  "licenses", "switches",  "nice", "priority",
                                      "contiguous", "tmp",      "network",   "power"};
    const bool whole = std::find(free_options.begin(), free_options.end(), name) != free_options.end();
    for (const auto &option : owned_options)
        if (!whole && starts_with(option.name, name))
            return fmt::format("--{} can't be given here: sbatch takes it for --{}: {}", name, option.name,
                               option.instead);
    // A second --exclude would replace the nodes that the run avoids: they are put together, where it is spelled out.
    if (!whole && starts_with("exclude", name))
        return fmt::format("--{} can't be given here: write it out, --exclude", name);
    return "";
}

std::string check_variable(const std::string &text) {
    if (!is_identifier(text))
        return fmt::format("'{}' can't be the name of a variable: letters, digits and '_', not a digit first", text);
    constexpr std::array ranks{"RANK",       "LOCAL_RANK", "WORLD_SIZE",  "LOCAL_WORLD_SIZE",
                               "GROUP_RANK", "NODE_RANK",  "MASTER_ADDR", "MASTER_PORT"};
    if (std::find(ranks.begin(), ranks.end(), text) != ranks.end())
        return fmt::format("{} is set by trainctl for each rank", text);
    constexpr std::array prefixes{"SLURM_", "SBATCH_", "SRUN_", "TRAINCTL_", "PMI_", "PMIX_", "OMPI_"};
    for (const char *prefix : prefixes)
        if (starts_with(text, prefix))
            return fmt::format("{} can't be set: {}* belongs to {}", text, prefix,
                               prefix == std::string_view{"TRAINCTL_"} ? "trainctl" : "Slurm and its launchers");
    return "";
}

std::string check_secret(const std::string &text) {
    const auto equals = text.find('=');
    if (equals != std::string::npos && is_identifier(text.substr(0, equals)))
        return fmt::format("list the name only, {}: the value is taken from your environment when you submit, and "
                           "must not be in a file",
                           text.substr(0, equals));
    if (!is_identifier(text))
        return "must be names of variables, such as WANDB_API_KEY: one item is none (it is not shown here, in case it "
               "is a secret)";
    return check_variable(text);
}

std::string check_checkpoint_pattern(const std::string &text) {
    const std::string_view mark = "{step}";
    const auto first = text.find(mark);
    if (first == std::string::npos || text.find(mark, first + 1) != std::string::npos)
        return fmt::format("must have {{step}} in it once, such as step-{{step}}.pt, not '{}'", text);
    if (text.find('/') != std::string::npos)
        return fmt::format("is the name of a checkpoint inside checkpoint.dir, without '/': '{}'", text);
    return "";
}

std::string check_file_suffix(const std::string &text) {
    if (text[0] == '/' || text == ".." || starts_with(text, "../") || text.find("/../") != std::string::npos ||
        ends_with(text, "/.."))
        return fmt::format("is a name inside the checkpoint (or what is added to the name of its file), not '{}'",
                           text);
    return "";
}

std::string check_progress_pattern(const std::string &text) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20); // a pattern that needs more is no pattern for a line of a log
    const RE2 pattern(text, options);
    if (!pattern.ok())
        return fmt::format("is not a valid pattern (RE2): {}: '{}'", pattern.error(), text);
    bool any = false;
    for (const auto &[name, number] : pattern.NamedCapturingGroups()) {
        if (name != "step" && name != "loss" && name != "rate")
            return fmt::format("has a group '{}'; known groups are step, loss and rate: '{}'", name, text);
        any = true;
    }
    return any ? "" : fmt::format("needs a group (?P<step>...), (?P<loss>...) or (?P<rate>...): '{}'", text);
}

std::string check_stall_timeout(const std::string &text) {
    if (text == "auto" || text == "off")
        return "";
    const auto duration = parse_duration(text);
    if (!duration)
        return fmt::format("must be auto, off or a duration such as 15m, not '{}'", text);
    return duration->count() >= 1 ? "" : "must be at least 1s";
}

} // namespace trainctl
