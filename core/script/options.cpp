#include "script/options.h"

#include "base/files.h"
#include "base/text.h"
#include "cluster/chips.h"
#include "experiment/checks.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

using std::chrono::seconds;

// After the save: the head has to notice, write the outcome and adjust the standby before Slurm kills it.
constexpr seconds signal_margin{60};
// sbatch takes 16 bits for the time of --signal.
constexpr seconds longest_signal_time{65535};

constexpr std::string_view exclude_option = "--exclude=";

struct Field {
    std::string name;
    const std::string &value;
};

Error invalid(std::string key, std::string message, std::string hint = "") {
    return Error{ErrorKind::invalid, std::move(message), std::move(key), std::move(hint)};
}

bool has_control(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
    });
}

Result<void> check_value(const std::string &key, const std::string &value) {
    if (has_control(value))
        return invalid(key, "has a newline or another control character, and Slurm can't take that");
    return {};
}

Result<void> check_plan(const AttemptPlan &plan) {
    if (!valid_run_id(plan.run.value) || plan.no.value < 1)
        return invalid("run", "\"" + plan.run.value + "\", attempt " + to_string(plan.no) + " is no valid attempt");
    if (plan.root.empty() || plan.root.front() != '/' || plan.agent.empty() || plan.agent.front() != '/')
        return invalid("root", "the run root and the agent must be absolute paths: \"" + plan.root + "\"");
    if (plan.root.find('\\') != std::string::npos)
        return invalid("root", plan.root + " has a backslash, which Slurm removes from file names",
                       "take another run root in the cluster's profile");
    for (const auto &[key, value] : {Field{"root", plan.root}, {"agent", plan.agent}, {"name", plan.experiment.name}})
        if (auto checked = check_value(key, value); !checked)
            return checked;
    const Resources &wanted = plan.experiment.resources;
    if (wanted.time && wanted.time->count() < 1)
        return invalid("resources.time", "must be a second at least: Slurm takes 0 for no limit");
    return {};
}

Result<void> check_user_option(const std::string &option) {
    const std::string key = "resources.sbatch";
    if (auto checked = check_value(key, option); !checked)
        return checked;
    const auto problem = check_sbatch_option(option);
    return problem.empty() ? Result<void>{} : Result<void>{invalid(key, problem)};
}

std::string time_text(seconds time) {
    const auto total = time.count();
    const auto clock = fmt::format("{:02}:{:02}:{:02}", total / 3600 % 24, total / 60 % 60, total % 60);
    return total < 86400 ? clock : fmt::format("{}-{}", total / 86400, clock);
}

// A chip's name is a part of a list for Slurm: nothing may end it.
Result<std::string> gres_of(const Resources &wanted) {
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (wanted.chip.find_first_not_of(allowed) != std::string::npos)
        return invalid("resources.chip", "\"" + wanted.chip + "\" can't be the name of a chip");
    return gres_for(wanted.chip, wanted.per_node);
}

// Slurm replaces %j and the like in the names of output files.
std::string output_path(const AttemptPlan &plan) {
    std::string out;
    for (const char c : attempt_folder(plan) + "/logs/" + batch_log)
        out += c == '%' ? std::string{"%%"} : std::string{c};
    return out;
}

void add_identity(const AttemptPlan &plan, std::vector<std::string> &options) {
    options.push_back("--job-name=" + job_name(plan.run, plan.no));
    options.push_back("--comment=trainctl run=" + plan.run.value + " attempt=" + to_string(plan.no));
}

Result<void> add_resources(const AttemptPlan &plan, std::vector<std::string> &options) {
    const Resources &wanted = plan.experiment.resources;
    options.push_back("--nodes=" + std::to_string(wanted.nodes + wanted.spares));
    options.push_back("--ntasks-per-node=1");
    if (wanted.cpus)
        options.push_back("--cpus-per-task=" + std::to_string(*wanted.cpus));
    if (wanted.memory_mib)
        options.push_back("--mem=" + std::to_string(*wanted.memory_mib) + "M");
    if (wanted.per_node > 0) {
        auto gres = gres_of(wanted);
        if (!gres)
            return gres.error();
        options.push_back("--gres=" + *gres);
    }
    if (wanted.time)
        options.push_back("--time=" + time_text(*wanted.time));
    const auto early = early_signal(plan.experiment.checkpoint.save_time, wanted.time);
    options.push_back("--signal=B:USR1@" + std::to_string(early.count()));
    for (const auto &[name, value] :
         {Field{"partition", wanted.partition}, {"account", wanted.account}, {"qos", wanted.qos},
          {"constraint", wanted.constraint}, {"reservation", wanted.reservation}}) {
        if (auto checked = check_value("resources." + name, value); !checked)
            return checked;
        if (!value.empty())
            options.push_back(fmt::format("--{}={}", name, value));
    }
    return {};
}

void add_protocol(const AttemptPlan &plan, std::vector<std::string> &options) {
    if (plan.after) {
        options.push_back("--dependency=afternotok:" + to_string(*plan.after));
        options.push_back("--kill-on-invalid-dep=yes");
    }
    options.emplace_back("--no-requeue");
    // Only where the attempt can go on without the node: Slurm then takes that of the batch script out of the job as well,
    // shows the job as RUNNING to its time limit, and no standby starts.
    if (plan.experiment.resources.spares > 0 || plan.experiment.resources.min_nodes > 0)
        options.emplace_back("--no-kill");
    for (const char *fixed : {"--open-mode=append", "--propagate=NONE", "--export=ALL"})
        options.emplace_back(fixed);
    options.push_back("--chdir=" + run_folder(plan));
    options.push_back("--output=" + output_path(plan));
}

} // namespace

std::string run_folder(const AttemptPlan &plan) { return join_path(join_path(plan.root, "runs"), plan.run.value); }

std::string attempt_folder(const AttemptPlan &plan) {
    return join_path(join_path(run_folder(plan), "attempts"), to_string(plan.no));
}

seconds early_signal(seconds save_time, std::optional<seconds> limit) {
    // A limit shorter than twice this is halved, so that something is trained.
    return std::max(seconds{1}, std::min({save_time + signal_margin, limit.value_or(seconds::max()) / 2, longest_signal_time}));
}

Result<std::vector<std::string>> sbatch_options(const AttemptPlan &plan) {
    if (auto checked = check_plan(plan); !checked)
        return checked.error();
    std::vector<std::string> options, users, excluded = plan.exclude_nodes;
    for (const auto &option : plan.experiment.resources.sbatch) {
        if (auto checked = check_user_option(option); !checked)
            return checked.error();
        if (starts_with(option, exclude_option))
            excluded.push_back(option.substr(exclude_option.size()));
        else
            users.push_back(option);
    }
    add_identity(plan, options);
    if (auto added = add_resources(plan, options); !added)
        return added.error();
    const std::string exclude = join(excluded, ",");
    if (auto checked = check_value("exclude", exclude); !checked)
        return checked.error();
    if (!exclude.empty())
        options.push_back(std::string{exclude_option} + exclude);
    add_protocol(plan, options);
    options.insert(options.end(), users.begin(), users.end());
    return options;
}

} // namespace trainctl
