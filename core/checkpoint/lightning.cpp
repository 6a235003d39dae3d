// PyTorch Lightning, Lightning-AI/pytorch-lightning 2: x.ckpt is a torch.save file that fsspec makes elsewhere and moves to its place,
// which copies it where that is another disk (src/lightning/fabric/utilities/cloud_io.py, _atomic_save()); with sharded strategies it is a folder: FSDP's has torch.distributed.checkpoint's files and then meta.pt (src/lightning/pytorch/strategies/fsdp.py,
// save_checkpoint()), DeepSpeed's has checkpoint/ and then `latest`, which names it (strategies/deepspeed.py).
// Names: src/lightning/pytorch/callbacks/model_checkpoint.py: "{epoch}-{step}" with "epoch=1-step=200", "-v1" for a second one, last.ckpt.
#include "checkpoint/format.h"
#include "checkpoint/torch_pickle.h"

#include <fmt/format.h>

namespace trainctl {

bool is_lightning(const CheckpointFacts &facts) {
    if (!facts.folder)
        return facts.name.ends_with(".ckpt");
    return facts.name.ends_with(".ckpt") && (facts.has("meta.pt") || facts.has(".metadata") || facts.has("latest") || facts.has_under("checkpoint/") || is_dcp(facts));
}

std::string lightning_problem(const CheckpointFacts &facts) {
    if (!facts.folder)
        return torch_file_problem(facts, facts.name);
    if (facts.has("latest") || facts.has_under("checkpoint/")) {
        const auto tag = whole_text(facts, "latest", 4096);
        if (!tag.problem.empty())
            return tag.problem;
        if (tag.text != "checkpoint" || !facts.has_under("checkpoint/"))
            return fmt::format("latest names {}, and not what is in it", tag.text.substr(0, 64));
        return deepspeed_files_problem(facts_under(facts, "checkpoint/"));
    }
    if (auto problem = torch_file_problem(facts, "meta.pt"); !problem.empty())
        return problem;
    const auto meta = facts.written.find("meta.pt"), index = facts.written.find(".metadata");
    if (meta != facts.written.end() && index != facts.written.end() && index->second - meta->second > clocks_differ)
        return "meta.pt, which is written last, is older than .metadata, as of a save into it that has not ended (touch meta.pt where that is not so)";
    return dcp_problem(facts);
}

bool is_last_name(std::string_view name) {
    if (!name.starts_with("last") || !name.ends_with(".ckpt") || name.size() < 9)
        return false;
    const auto version = name.substr(4, name.size() - 9);
    return version.empty() || (version.starts_with("-v") && version.size() > 2 && version.find_first_not_of("0123456789", 2) == std::string_view::npos);
}

bool step_is_inside(const Checkpoint &spec, std::string_view name) {
    const bool ours = spec.format == CheckpointFormat::lightning || spec.format == CheckpointFormat::automatic;
    return ours && spec.pattern.empty() && spec.marker.empty() && spec.manifest.empty() && is_last_name(name);
}

std::optional<std::int64_t> step_inside(const CheckpointFacts &facts) {
    const auto name = facts.folder ? "meta.pt" : facts.name;
    const auto saved = torch_pickle(facts, name);
    if (!saved.pickle)
        return std::nullopt;
    const auto step = saved.pickle->member(saved.pickle->root(), "global_step");
    const auto value = step ? saved.pickle->integer(*step) : std::nullopt;
    return value && *value >= 0 ? value : std::nullopt;
}

} // namespace trainctl
