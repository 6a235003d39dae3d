// Jobs, partitions and nodes one by one, and changes to pending jobs: what scontrol is for.
#include "slurm/slurm_scheduler.h"

#include "base/text.h"
#include "slurm/answers.h"
#include "slurm/hostlist.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

constexpr Duration query_deadline = std::chrono::seconds{60}; // a busy controller; MessageTimeout is 10 s a try
constexpr Duration order_deadline = std::chrono::seconds{60};

} // namespace

Result<void> SlurmScheduler::leaves_enough_nodes(JobId id, const PendingUpdate &update) {
    const auto record = job_record(id);
    if (!record)
        return record.error();
    if (!*record)
        return Error{ErrorKind::not_found, "no such job: " + to_string(id), "scontrol update", ""};
    int wanted = update.nodes.value_or(0);
    if (!update.nodes) { // "2", or "2-4"
        const std::string text = field(**record, "NumNodes");
        std::from_chars(text.data(), text.data() + text.size(), wanted);
    }
    const auto all = partitions();
    if (!all)
        return all.error();
    const auto allowed = split(field(**record, "Partition"), ',');
    const std::set<std::string> excluded(update.exclude_nodes.begin(), update.exclude_nodes.end());
    std::size_t most = 0;
    bool known = false;
    for (const auto &partition : *all) {
        const auto hosts = expand_hostlist(partition.nodes);
        if (!hosts || std::find(allowed.begin(), allowed.end(), partition.name) == allowed.end())
            continue;
        known = true;
        most = std::max(most, static_cast<std::size_t>(std::count_if(hosts->begin(), hosts->end(), [&](const std::string &host) {
                            return !excluded.contains(host);
                        })));
    }
    if (!known || most >= static_cast<std::size_t>(std::max(wanted, 0)))
        return {};
    return Error{ErrorKind::refused,
                 fmt::format("without {} only {} nodes of partition {} are left, and job {} asks for {}",
                             compress_hostlist(update.exclude_nodes), most, field(**record, "Partition"), to_string(id), wanted),
                 "scontrol update", "exclude fewer nodes or ask for fewer"};
}

Result<void> SlurmScheduler::update_pending(JobId id, const PendingUpdate &update) {
    std::vector<std::string> arguments{"update", "JobId=" + to_string(id)};
    if (!update.exclude_nodes.empty())
        arguments.push_back("ExcNodeList=" + join(update.exclude_nodes, ","));
    if (update.nodes)
        arguments.push_back("NumNodes=" + std::to_string(*update.nodes));
    if (arguments.size() == 2)
        return {};
    if (!update.exclude_nodes.empty())
        if (auto enough = leaves_enough_nodes(id, update); !enough)
            return enough;
    const auto result = ask(tools_.scontrol, std::move(arguments), order_deadline);
    if (!result)
        return result.error();
    if (!result->ok())
        return slurm_error("scontrol update", *result);
    const auto seen = job(id);
    if (!seen)
        return seen.error();
    if (!*seen)
        return Error{ErrorKind::not_found, "the job is gone", "scontrol update", ""};
    // A hold or a partition that is down is not of our making.
    const std::string &reason = (*seen)->reason;
    if ((*seen)->phase == JobPhase::pending && (reason == "BadConstraints" || reason == "PartitionNodeLimit"))
        return Error{ErrorKind::refused,
                     fmt::format("after the change job {} can never start: {}", to_string(id), reason), "scontrol update",
                     "exclude fewer nodes or ask for fewer"};
    return {};
}

Result<std::optional<Record>> SlurmScheduler::job_record(JobId id) {
    const auto result = ask(tools_.scontrol, {"show", "job", "-o", to_string(id)}, query_deadline);
    if (!result)
        return result.error();
    if (!result->ok()) {
        if (no_such_job(result->err + result->out))
            return std::optional<Record>{};
        return slurm_error("scontrol show job", *result);
    }
    for (auto &record : parse_records(result->out))
        if (parse_job_id(field(record, "JobId")) == id)
            return std::optional{std::move(record)};
    return std::optional<Record>{};
}

Result<void> SlurmScheduler::limit_time(JobId id, std::chrono::minutes limit) {
    const auto result = ask(tools_.scontrol, {"update", "JobId=" + to_string(id), "TimeLimit=" + std::to_string(limit.count())}, order_deadline);
    if (!result)
        return result.error();
    return result->ok() ? Result<void>{} : slurm_error("scontrol update", *result);
}

Result<std::optional<JobSighting>> SlurmScheduler::job(JobId id) {
    const auto record = job_record(id);
    if (!record)
        return record.error();
    return *record ? job_of_record(**record) : std::optional<JobSighting>{};
}

Result<std::vector<Partition>> SlurmScheduler::partitions() {
    const auto result = ask(tools_.scontrol, {"show", "partition", "-a", "-o"}, query_deadline);
    if (!result)
        return result.error();
    if (!result->ok())
        return slurm_error("scontrol show partition", *result);
    std::vector<Partition> partitions;
    for (const auto &record : parse_records(result->out))
        if (auto partition = partition_of_record(record))
            partitions.push_back(std::move(*partition));
    return partitions;
}

Result<std::vector<NodeInfo>> SlurmScheduler::nodes(const std::string &hostlist) {
    std::vector<std::string> arguments{"show", "node", "-a", "-o"};
    if (!hostlist.empty())
        arguments.push_back(hostlist);
    const auto result = ask(tools_.scontrol, std::move(arguments), query_deadline);
    if (!result)
        return result.error();
    if (!result->ok())
        return slurm_error("scontrol show node", *result);
    std::vector<NodeInfo> nodes;
    for (const auto &record : parse_records(result->out))
        if (auto node = node_of_record(record))
            nodes.push_back(std::move(*node));
    return nodes;
}

Result<std::map<std::string, std::string>> SlurmScheduler::node_addresses(const std::string &hostlist) {
    const auto found = nodes(hostlist);
    if (!found)
        return found.error();
    std::map<std::string, std::string> addresses;
    for (const auto &node : *found)
        addresses.emplace(node.name, node.address.empty() ? node.name : node.address);
    return addresses;
}

} // namespace trainctl
