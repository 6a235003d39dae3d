// Megatron-LM: iter_<iteration>/, and beside it latest_checkpointed_iteration.txt, written in place when all ranks have saved, by an
// asynchronous save too. NVIDIA/Megatron-LM, megatron/training/checkpointing.py (before core_v0.6 megatron/checkpointing.py):
// get_checkpoint_name(), save_checkpoint(), _get_checkpoint_format(). A tracker that is empty ends the training with code 0 there.
// torch: mp_rank_TT[_PPP][_EEE]/model_optim_rng.pt, and distrib_optim.pt with the distributed optimizer; how many there are is
// in `args` of each. torch_dist: megatron/core/dist_checkpointing/: common.pt first, then torch.distributed.checkpoint's
// files, and metadata.json, which names the backend, last (serialization.py, save()). torch_dcp and fsdp_dtensor, since about
// core_v0.9: torch.distributed.checkpoint's files alone.
#include "checkpoint/checkpoint.h"
#include "checkpoint/format.h"
#include "checkpoint/torch_pickle.h"
#include "checkpoint/tracker.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

constexpr const char *model_file = "model_optim_rng.pt";
constexpr const char *optimizer_file = "distrib_optim.pt";
constexpr const char *name_pattern = "iter_{step}";
constexpr std::int64_t most_ranks = 100'000;

// Whether the tracker says that the save of this one has ended. A release has no iteration.
std::string iteration_problem(const CheckpointFacts &facts) {
    const auto step = step_of_name(name_pattern, facts.name);
    if (!step)
        return fmt::format("its name is not iter_<iteration>, which {} could speak of", megatron_tracker);
    const std::string text{trim(facts.tracker(megatron_tracker))};
    if (text == "release")
        return tracker_problem(facts, *step, {megatron_tracker, text, -1, true});
    const auto saved = step_of_name(name_pattern, "iter_" + text);
    const bool there = facts.around && saved && std::any_of(facts.around->names.begin(), facts.around->names.end(), [&](const auto &name) { return step_of_name(name_pattern, name) == saved; });
    return tracker_problem(facts, *step, {megatron_tracker, text, saved, there});
}

// "mp_rank_00_001/model_optim_rng.pt": its folder.
std::string rank_folder(const std::string &file) {
    const auto slash = file.find('/');
    return file.starts_with("mp_rank_") && slash != std::string::npos ? file.substr(0, slash) : "";
}

struct Grid {
    std::int64_t tensor = 0, pipeline = 1, expert = 1;
    bool optimizer_apart = false;
};

std::optional<Grid> grid_in(const CheckpointFacts &facts, const std::string &file) {
    const auto saved = torch_pickle(facts, file);
    if (!saved.pickle)
        return std::nullopt;
    const auto args = saved.pickle->member(saved.pickle->root(), "args");
    const auto number = [&](const char *key, std::int64_t otherwise) {
        const auto found = args ? saved.pickle->member(*args, key) : std::nullopt;
        return found ? saved.pickle->integer(*found).value_or(otherwise) : otherwise;
    };
    Grid grid{number("tensor_model_parallel_size", 0), number("pipeline_model_parallel_size", 1), number("expert_model_parallel_size", 1), false};
    grid.optimizer_apart = number("use_distributed_optimizer", 0) == 1 && number("no_save_optim", 0) != 1;
    for (const auto size : {grid.tensor, grid.pipeline, grid.expert})
        if (size < 1 || size > most_ranks)
            return std::nullopt;
    return grid;
}

std::string torch_ranks_problem(const CheckpointFacts &facts) {
    std::string first;
    for (const auto &[name, size] : facts.files) {
        if (auto folder = rank_folder(name); first.empty())
            first = folder;
        if (name.ends_with(".pt"))
            if (auto problem = torch_file_problem(facts, name); !problem.empty())
                return problem;
    }
    if (!facts.has(first + "/" + model_file))
        return fmt::format("{}/{} is missing", first, model_file);
    const auto grid = grid_in(facts, first + "/" + model_file);
    if (!grid || grid->tensor * grid->pipeline * grid->expert > most_ranks)
        return fmt::format("{}/{} does not tell how many ranks saved: set checkpoint.marker with format: plain", first, model_file);
    for (std::int64_t tensor = 0; tensor < grid->tensor; ++tensor)
        for (std::int64_t pipeline = 0; pipeline < grid->pipeline; ++pipeline)
            for (std::int64_t expert = 0; expert < grid->expert; ++expert) {
                auto folder = fmt::format("mp_rank_{:02}", tensor);
                folder += grid->pipeline > 1 ? fmt::format("_{:03}", pipeline) : "";
                folder += grid->expert > 1 ? fmt::format("_{:03}", expert) : "";
                for (const auto *file : {model_file, optimizer_file})
                    if ((file == model_file || grid->optimizer_apart) && !facts.has(folder + "/" + file))
                        return fmt::format("{}/{} is missing", folder, file);
            }
    return "";
}

} // namespace

std::string torch_dist_problem(const CheckpointFacts &facts) {
    const auto about = whole_json(facts, "metadata.json");
    if (!about.problem.empty())
        return about.problem + ", which is written last";
    const auto backend = about.object.is_object() ? about.object.value("sharded_backend", Json{}) : Json{};
    if (backend != "torch_dist")
        return fmt::format("its backend is {}, and only torch_dist can be looked into: set checkpoint.marker with format: plain", backend.dump());
    if (auto problem = torch_file_problem(facts, "common.pt"); !problem.empty())
        return problem;
    return dcp_problem(facts);
}

bool is_megatron(const CheckpointFacts &facts) {
    if (!facts.folder)
        return false;
    if (facts.has("common.pt") || facts.has("metadata.json"))
        return is_dcp(facts) || facts.has("common.pt");
    return std::any_of(facts.files.begin(), facts.files.end(), [](const auto &file) { return !rank_folder(file.first).empty(); }) ||
           (step_of_name(name_pattern, facts.name) && is_dcp(facts));
}

std::string megatron_problem(const CheckpointFacts &facts) {
    if (auto problem = iteration_problem(facts); !problem.empty())
        return problem;
    for (const auto &[name, size] : facts.files)
        if (!rank_folder(name).empty())
            return torch_ranks_problem(facts);
    // Formats torch_dcp and fsdp_dtensor are torch.distributed.checkpoint's files and nothing else.
    const bool of_core = facts.has("common.pt") || facts.has("metadata.json");
    return of_core ? torch_dist_problem(facts) : dcp_problem(facts);
}

} // namespace trainctl
