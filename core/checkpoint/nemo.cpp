// NeMo, NVIDIA/NeMo. 2: a folder named like Lightning's files ("...step=99-consumed_samples=...-last") with weights/, as Megatron's
// torch_dist, and context/; while it is saved, asynchronously too, or removed, <name>-unfinished lies beside it (nemo/lightning/pytorch/
// callbacks/model_checkpoint.py, set_checkpoint_unfinished_marker()). 1: the same files without weights/, with the same mark since about
// 1.23 (nemo/utils/callbacks/nemo_model_checkpoint.py), and .nemo: a tar of model_config.yaml and the weights
// (nemo/core/connectors/save_restore_connector.py).
#include "checkpoint/format.h"
#include "checkpoint/tar.h"

#include <fmt/format.h>

namespace trainctl {

bool is_nemo(const CheckpointFacts &facts) {
    if (!facts.folder)
        return facts.name.ends_with(".nemo");
    return facts.has_under("weights/") || facts.has_under("context/") || facts.has("common.pt") || (is_unfinished(facts) && is_dcp(facts));
}

std::string nemo_problem(const CheckpointFacts &facts) {
    if (is_unfinished(facts))
        return fmt::format("{}-unfinished is there: its save has not ended", facts.name);
    if (!facts.folder) {
        const auto read = [&](std::uint64_t offset, std::size_t length) { return facts.read(facts.name, offset, length); };
        return tar_problem(read, facts.files.at(facts.name), {"model_config.yaml", "model_weights"});
    }
    if (!facts.has_under("weights/") && !facts.has_under("context/"))
        return torch_dist_problem(facts);
    if (auto problem = torch_dist_problem(facts_under(facts, "weights/")); !problem.empty())
        return fmt::format("weights/: {}", problem);
    const auto context = facts_under(facts, "context/");
    if (!context.files.empty() && !context.has("io.json"))
        return "context/io.json is missing";
    if (auto problem = every_file_problem(context); !problem.empty())
        return fmt::format("context/: {}", problem);
    return "";
}

} // namespace trainctl
