#include "run/drill.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

namespace {

struct Row {
    DrillKind kind;
    const char *name;
    DrillTraits traits;
};

constexpr bool harmful = true, later_job = true, one_rank = true;
constexpr std::array rows = {
    Row{DrillKind::crash, "crash", {DrillActor::job, !harmful, !later_job, one_rank, "SIGKILL for a rank's process"}},
    Row{DrillKind::hang, "hang", {DrillActor::job, !harmful, !later_job, one_rank, "SIGSTOP for all processes of a rank"}},
    Row{DrillKind::oom, "oom", {DrillActor::job, !harmful, !later_job, one_rank, "a rank gets no more memory (RLIMIT_AS): its next large allocation fails"}},
    Row{DrillKind::node_loss, "node-loss", {DrillActor::machine, harmful, !later_job, !one_rank, "kill -9 for all that runs on a node, slurmd included"}},
    Row{DrillKind::head_loss, "head-loss", {DrillActor::machine, harmful, later_job, !one_rank, "the same for the head's node"}},
    Row{DrillKind::cut_off, "cut-off", {DrillActor::job, harmful, !later_job, !one_rank, "a node and its head no longer hear each other, while its ranks go on"}},
    Row{DrillKind::preempt, "preempt", {DrillActor::machine, harmful, later_job, !one_rank, "a job of partition 'urgent' wants the run's nodes"}},
    Row{DrillKind::time_limit, "time-limit", {DrillActor::desk, !harmful, later_job, !one_rank, "the job's time limit is set to the next full minute"}},
    Row{DrillKind::corrupt_checkpoint, "corrupt-checkpoint", {DrillActor::job, !harmful, !later_job, one_rank, "the newest complete checkpoint's largest file is cut short, then a rank crashes"}},
    Row{DrillKind::disk_full, "disk-full", {DrillActor::machine, harmful, !later_job, !one_rank, "the disk of the run root is filled up until the failure was seen"}},
};

const Row &row_of(DrillKind kind) {
    return *std::find_if(rows.begin(), rows.end(), [&](const Row &row) { return row.kind == kind; });
}

bool has(const std::vector<std::string> &list, const std::string &text) { return std::find(list.begin(), list.end(), text) != list.end(); }

class Placer {
public:
    Placer(const DrillTarget &target, const DrillScene &scene) : target_(target), scene_(scene) {}

    Result<void> check() const {
        const int ranks = static_cast<int>(scene_.nodes.size()) * scene_.ranks_per_node;
        if (target_.rank && (*target_.rank < 0 || *target_.rank >= ranks))
            return Error{ErrorKind::invalid, fmt::format("there is no rank {}: ranks 0 to {} train", *target_.rank, ranks - 1), "--rank", ""};
        if (!target_.node.empty() && !has(scene_.nodes, target_.node))
            return Error{ErrorKind::invalid, "no rank trains on node '" + target_.node + "'", "--node", "it trains on " + join(scene_.nodes, ", ")};
        return {};
    }

    // One that loses its node, or is cut off.
    Result<std::string> node(DrillKind kind) {
        std::vector<std::string> choice;
        if (const auto wanted = target_.rank ? node_of(*target_.rank) : target_.node; !wanted.empty() && !has(taken_, wanted))
            choice = {wanted};
        else
            for (auto name = scene_.nodes.rbegin(); name != scene_.nodes.rend(); ++name)
                if (*name != scene_.head_node && !has(taken_, *name))
                    choice.push_back(*name);
        if (choice.empty() && kind == DrillKind::cut_off)
            choice = {scene_.head_node};
        if (choice.empty() || (kind == DrillKind::node_loss && choice.front() == scene_.head_node))
            return Error{ErrorKind::invalid, "there is no node to lose but the head's, " + scene_.head_node, "node-loss", "that is the drill head-loss"};
        taken_.push_back(choice.front());
        return choice.front();
    }

    int rank() {
        for (const bool with_lost : {false, true})
            for (int rank = static_cast<int>(scene_.nodes.size()) * scene_.ranks_per_node - 1; rank >= 0; --rank)
                if (fits(rank) && (with_lost || (!has(taken_, node_of(rank)) && std::find(hit_.begin(), hit_.end(), rank) == hit_.end()))) {
                    hit_.push_back(rank);
                    return rank;
                }
        return 0;
    }

    std::string node_of(int rank) const { return scene_.nodes.at(static_cast<std::size_t>(rank / scene_.ranks_per_node)); }

    void take(const std::string &node) { taken_.push_back(node); }

private:
    // The rank, or a rank of the node, that was asked for; once that is hit, any.
    bool fits(int rank) const {
        if (target_.rank)
            return rank == *target_.rank || !hit_.empty();
        return target_.node.empty() || node_of(rank) == target_.node || !hit_.empty();
    }

    const DrillTarget &target_;
    const DrillScene &scene_;
    std::vector<std::string> taken_;
    std::vector<int> hit_;
};

} // namespace

const char *to_string(DrillKind kind) { return row_of(kind).name; }
const DrillTraits &traits(DrillKind kind) { return row_of(kind).traits; }

std::vector<DrillKind> all_drill_kinds() {
    std::vector<DrillKind> out;
    for (const auto &row : rows)
        out.push_back(row.kind);
    return out;
}

Result<std::vector<DrillKind>> drill_kinds(const std::vector<std::string> &words) {
    std::vector<DrillKind> out;
    std::vector<std::string> names;
    for (const auto &row : rows)
        names.emplace_back(row.name);
    for (const auto &word : words) {
        const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row &known) { return known.name == word; });
        if (row == rows.end()) {
            const auto meant = did_you_mean(word, names);
            return Error{ErrorKind::invalid, "there is no drill '" + word + "'" + (meant.empty() ? "" : "; did you mean '" + meant + "'?"), "", "one of " + join(names, ", ")};
        }
        if (std::find(out.begin(), out.end(), row->kind) != out.end())
            return Error{ErrorKind::invalid, "the drill '" + word + "' is named twice", "", ""};
        out.push_back(row->kind);
    }
    return out;
}

Result<std::vector<DrillFault>> place_faults(const std::vector<DrillKind> &kinds, const DrillTarget &target, const DrillScene &scene) {
    Placer placer{target, scene};
    if (auto good = placer.check(); !good)
        return good.error();
    std::vector<DrillFault> out;
    for (const auto kind : kinds)
        out.push_back({kind, -1, "", 0});
    for (auto &fault : out) { // nodes first: what is lost anyway is no place for another fault
        if (fault.kind == DrillKind::head_loss)
            placer.take(fault.node = scene.head_node);
        if (fault.kind != DrillKind::node_loss && fault.kind != DrillKind::cut_off)
            continue;
        auto node = placer.node(fault.kind);
        if (!node)
            return node.error();
        fault.node = *node;
    }
    for (auto &fault : out)
        if (traits(fault.kind).on_rank) {
            fault.rank = placer.rank();
            fault.node = placer.node_of(fault.rank);
        }
    return out;
}

Json to_json(const DrillFault &fault) {
    return {{"kind", to_string(fault.kind)}, {"rank", fault.rank < 0 ? Json{} : Json(fault.rank)}, {"node", fault.node}, {"seconds", fault.seconds}};
}

Json to_json(const DrillWish &wish) {
    Json faults = Json::array();
    for (const auto &fault : wish.faults)
        faults.push_back(to_json(fault));
    return {{"format", 1}, {"id", wish.id}, {"attempt", wish.attempt}, {"generation", wish.generation}, {"faults", std::move(faults)}};
}

Result<DrillFault> drill_fault_from(const Json &json) {
    if (!json.is_object())
        return Error{ErrorKind::invalid, "this is no fault", "", ""};
    auto kinds = drill_kinds({json.value("kind", "")});
    if (!kinds)
        return kinds.error();
    const auto rank = json.find("rank");
    return DrillFault{kinds->front(), rank != json.end() && rank->is_number_integer() ? rank->get<int>() : -1, json.value("node", ""), json.value("seconds", 0.0)};
}

Result<DrillWish> drill_wish_from(std::string_view text, const std::string &where) {
    const auto json = parse_json(text, where);
    if (!json)
        return json.error();
    try {
        DrillWish wish{json->at("id"), json->at("attempt"), json->at("generation"), {}};
        for (const auto &item : json->at("faults")) {
            auto fault = drill_fault_from(item);
            if (!fault)
                return fault.error();
            wish.faults.push_back(std::move(*fault));
        }
        return wish;
    } catch (const Json::exception &problem) {
        return Error{ErrorKind::invalid, problem.what(), where, ""};
    }
}

} // namespace trainctl
