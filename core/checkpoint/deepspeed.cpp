// DeepSpeed: global_step<step>/ with mp_rank_XX_model_states.pt, or zero_pp_rank_N_mp_rank_XX_model_states.pt for each data-parallel
// rank with ZeRO 3, and [bf16_]zero_pp_rank_N_mp_rank_XX_optim_states.pt for each with ZeRO; beside it `latest`, which is
// written when all ranks have saved. deepspeed/runtime/engine.py, 0.9 to 0.16: save_checkpoint(), _get_ckpt_name(),
// _get_rank_zero_ckpt_name(); dp_world_size and mp_world_size are in the model states, and `optimizer` is None there
// where ZeRO saves it apart.
#include "checkpoint/checkpoint.h"
#include "checkpoint/format.h"
#include "checkpoint/torch_pickle.h"
#include "checkpoint/tracker.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::int64_t most_ranks = 100'000;

bool any_name(const CheckpointFacts &facts, bool (*is)(const std::string &)) {
    return std::any_of(facts.files.begin(), facts.files.end(), [&](const auto &file) { return is(file.first); });
}
bool is_model_states(const std::string &name) { return name.ends_with("_model_states.pt"); }
bool is_optim_states(const std::string &name) { return name.ends_with("_optim_states.pt"); }
bool is_expert(const std::string &name) { return name.find("expert_") != std::string::npos || name.starts_with("expp_rank_"); }

std::string zero_name(const std::string &prefix, std::int64_t data, std::int64_t model, const char *what) {
    return fmt::format("{}zero_pp_rank_{}_mp_rank_{:02}_{}.pt", prefix, data, model, what);
}

struct Sizes {
    std::int64_t data = 0, model = 0;
    bool optimizer_apart = false;
};

std::optional<Sizes> sizes_in(const CheckpointFacts &facts, const std::string &file) {
    const auto saved = torch_pickle(facts, file);
    if (!saved.pickle)
        return std::nullopt;
    const auto &pickle = *saved.pickle;
    const auto number = [&](const char *key) {
        const auto found = pickle.member(pickle.root(), key);
        return found ? pickle.integer(*found) : std::nullopt;
    };
    const auto data = number("dp_world_size"), model = number("mp_world_size");
    if (!data || !model || *data < 1 || *model < 1 || *data > most_ranks || *model > most_ranks)
        return std::nullopt;
    const auto optimizer = pickle.member(pickle.root(), "optimizer");
    return Sizes{*data, *model, optimizer && pickle.kind(*optimizer) == Pickle::Kind::none};
}

// Each rank's file by its name.
std::string count_problem(const CheckpointFacts &facts, const Sizes &sizes, bool zero3) {
    std::string prefix;
    for (const auto *one : {"", "bf16_", "fp16_"})
        if (facts.has_under(std::string{one} + "zero_pp_rank_0_mp_rank_00_optim"))
            prefix = one;
    const bool optimizer = any_name(facts, is_optim_states);
    if (sizes.optimizer_apart && !optimizer)
        return "its optimizer states are missing";
    for (std::int64_t model = 0; model < sizes.model; ++model) {
        if (const auto file = fmt::format("mp_rank_{:02}_model_states.pt", model); !zero3 && !facts.has(file))
            return fmt::format("{} is missing (of {})", file, sizes.model);
        for (std::int64_t data = 0; data < sizes.data; ++data) {
            if (const auto file = zero_name("", data, model, "model_states"); zero3 && !facts.has(file))
                return fmt::format("{} is missing (of {})", file, sizes.data);
            if (const auto file = zero_name(prefix, data, model, "optim_states"); optimizer && !facts.has(file))
                return fmt::format("{} is missing (of {})", file, sizes.data);
        }
    }
    return "";
}

// Whether `latest` says that the save of this one has ended.
std::string latest_problem(const CheckpointFacts &facts) {
    const std::string pattern = "global_step{step}", tag{trim(facts.tracker(deepspeed_tracker))};
    const auto step = step_beside(facts, facts.name, pattern);
    if (!step)
        return tag == facts.name ? "" : fmt::format("{} names {}", deepspeed_tracker, tag.empty() ? "nothing" : tag.substr(0, 64));
    return tracker_problem(facts, *step, {deepspeed_tracker, tag, step_beside(facts, tag, pattern), facts.around && facts.around->has(tag)});
}

} // namespace

bool is_deepspeed(const CheckpointFacts &facts) { return facts.folder && (any_name(facts, is_model_states) || any_name(facts, is_optim_states)); }

std::string deepspeed_files_problem(const CheckpointFacts &facts) {
    for (const auto &[name, size] : facts.files)
        if (name.ends_with(".pt"))
            if (auto problem = torch_file_problem(facts, name); !problem.empty())
                return problem;
    const bool zero3 = facts.has("zero_pp_rank_0_mp_rank_00_model_states.pt");
    const std::string first = zero3 ? "zero_pp_rank_0_mp_rank_00_model_states.pt" : "mp_rank_00_model_states.pt";
    if (!facts.has(first))
        return fmt::format("{} is missing", first);
    const auto sizes = sizes_in(facts, first);
    if (!sizes)
        return fmt::format("{} does not tell how many ranks saved: set checkpoint.marker with format: plain", first);
    // Experts are spread over ranks in ways that names don't tell.
    if (any_name(facts, is_expert))
        return count_problem(facts, {1, sizes->model, false}, zero3);
    return count_problem(facts, *sizes, zero3);
}

std::string deepspeed_problem(const CheckpointFacts &facts) {
    const auto problem = latest_problem(facts);
    return problem.empty() ? deepspeed_files_problem(facts) : problem;
}

} // namespace trainctl
