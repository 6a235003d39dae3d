// Drills: the faults that can be injected into a run, what each one hits, and the wish that tells a head of those that
// happen inside its job. Pure.
#pragma once

#include "base/json.h"
#include "base/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// In the run root, while a drill fills its disk up.
inline constexpr const char *disk_fill_name = "drill.fill";

enum class DrillKind { crash, hang, oom, node_loss, head_loss, cut_off, preempt, time_limit, corrupt_checkpoint, disk_full };
const char *to_string(DrillKind kind); // "node-loss"
std::vector<DrillKind> all_drill_kinds();
// Errors: invalid, with the kinds that there are.
Result<std::vector<DrillKind>> drill_kinds(const std::vector<std::string> &words);

// Who does it: the job's own head and agents, the desk through Slurm, or whoever owns the machine.
enum class DrillActor { job, desk, machine };
struct DrillTraits {
    DrillActor actor = DrillActor::job;
    bool sandbox_only = false;  // it hurts a node or the machine
    bool ends_attempt = false;  // training goes on in a later job
    bool on_rank = false;       // it hits one rank; else a node, or all
    const char *what = "";      // for people
};
const DrillTraits &traits(DrillKind kind);

struct DrillFault {
    DrillKind kind = DrillKind::crash;
    int rank = -1;              // of those on a rank
    std::string node;           // where it happens
    double seconds = 0;         // of cut-off: for how long
};

// What trains now.
struct DrillScene {
    int attempt = 0, generation = 0;
    std::string head_node;
    std::vector<std::string> nodes; // in the order of ranks
    int ranks_per_node = 1;
};
struct DrillTarget {
    std::optional<int> rank;
    std::string node;
};
// Where each of the faults hits, all at once: ranks from the last one down, each another one; nodes from the last one
// down, not the head's; no rank on a node that is lost anyway, where there are others. Errors: invalid, where there is
// no such rank or node.
Result<std::vector<DrillFault>> place_faults(const std::vector<DrillKind> &kinds, const DrillTarget &target, const DrillScene &scene);

// control/drill.json: what the head of this attempt is to do while this generation trains.
struct DrillWish {
    std::string id;
    int attempt = 0, generation = 0;
    std::vector<DrillFault> faults;
};
Json to_json(const DrillFault &fault);
Json to_json(const DrillWish &wish);
Result<DrillFault> drill_fault_from(const Json &json);
Result<DrillWish> drill_wish_from(std::string_view text, const std::string &where);

} // namespace trainctl
