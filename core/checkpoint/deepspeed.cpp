// DeepSpeed: global_step<step>/, or a tag of the user's, with mp_rank_XX_model_states.pt, or zero_pp_rank_N_mp_rank_XX_model_states.pt
// for each data-parallel rank with ZeRO 3, and [bf16_]zero_pp_rank_N_mp_rank_XX_optim_states.pt for each with ZeRO; beside it
// `latest`, written in place when all ranks have saved, or when an asynchronous save has been committed. deepspeedai/DeepSpeed,
// deepspeed/runtime/engine.py, 0.9 to 0.17: save_checkpoint(), _get_ckpt_name(), _get_rank_zero_ckpt_name(); dp_world_size and
// mp_world_size are in the model states, and `optimizer` is None there where ZeRO saves it apart. With experts:
// layer_L_expert_E_mp_rank_XX_model_states.pt, as many as num_experts says for each layer, and expp_rank_N_mp_rank_XX_optim_states.pt
// (_save_moe_checkpoint()).
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
bool is_zero_states(const std::string &name) { return name.find("zero_pp_rank_") != std::string::npos && is_optim_states(name); }
bool is_of_pipeline(const std::string &name) { return name.ends_with("-model_states.pt"); } // layer_01-model_00-model_states.pt

std::string zero_name(const std::string &prefix, std::int64_t data, std::int64_t model, const char *what) {
    return fmt::format("{}zero_pp_rank_{}_mp_rank_{:02}_{}.pt", prefix, data, model, what);
}

struct Sizes {
    std::int64_t data = 0, model = 0;
    bool optimizer_apart = false;
    std::vector<std::int64_t> experts; // of each layer that has some
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
    const auto optimizer = pickle.member(pickle.root(), "optimizer"), experts = pickle.member(pickle.root(), "num_experts");
    Sizes out{*data, *model, optimizer && pickle.kind(*optimizer) == Pickle::Kind::none, {}};
    if (experts && pickle.kind(*experts) == Pickle::Kind::list)
        for (const auto layer : pickle.items(*experts))
            out.experts.push_back(std::clamp<std::int64_t>(pickle.integer(layer).value_or(0), 0, most_ranks));
    return out;
}

// Each rank's file by its name.
std::string count_problem(const CheckpointFacts &facts, const Sizes &sizes, bool zero3) {
    std::string prefix;
    for (const auto *one : {"", "bf16_", "fp16_"})
        if (facts.has_under(std::string{one} + "zero_pp_rank_0_mp_rank_00_optim"))
            prefix = one;
    const bool optimizer = any_name(facts, is_zero_states);
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

std::string experts_problem(const CheckpointFacts &facts, const Sizes &sizes) {
    if (sizes.experts.empty() || any_name(facts, is_of_pipeline)) // whose stages count their layers each by itself
        return "";
    for (std::size_t layer = 0; layer < sizes.experts.size(); ++layer)
        for (std::int64_t expert = 0; expert < sizes.experts[layer]; ++expert)
            if (const auto file = fmt::format("layer_{}_expert_{}_mp_rank_00_model_states.pt", layer, expert); !facts.has(file))
                return fmt::format("{} is missing (of {})", file, sizes.experts[layer]);
    const auto ranks = numbered_files(facts, "expp_rank_", "_mp_rank_00_optim_states.pt", 1);
    if (ranks.count == 0 && ranks.gap.empty())
        return "expp_rank_0_mp_rank_00_optim_states.pt is missing";
    return ranks.gap.empty() ? "" : fmt::format("{} is missing", ranks.gap);
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
    const auto problem = count_problem(facts, *sizes, zero3);
    return problem.empty() ? experts_problem(facts, *sizes) : problem;
}

std::string deepspeed_problem(const CheckpointFacts &facts) {
    const auto problem = latest_problem(facts);
    return problem.empty() ? deepspeed_files_problem(facts) : problem;
}

} // namespace trainctl
