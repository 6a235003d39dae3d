// Hugging Face Trainer: checkpoint-<step> with the weights and training_args.bin, then optimizer.pt and scheduler.pt, then each rank's
// rng_state and trainer_state.json. huggingface/transformers 4, src/transformers/trainer.py, _save_checkpoint(): those with
// _save_rng_state() write trainer_state.json after it, older ones before; ranks do not wait for each other, so that no one file
// tells that the save has ended. All are written in place. How many ranks there are is in training_args.bin: TrainingArguments'
// distributed_state is accelerate's PartialState, with num_processes (since 4.30; none without accelerate's state).
// With FSDP: pytorch_model_fsdp_0/ and optimizer_0/ (huggingface/accelerate, utils/fsdp_utils.py); with DeepSpeed: `latest` and
// global_step<step>/ inside.
#include "checkpoint/format.h"
#include "checkpoint/torch_pickle.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr const char *state_file = "trainer_state.json";
constexpr const char *arguments_file = "training_args.bin";
constexpr std::int64_t most_ranks = 100'000;
constexpr const char *weights[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
                                   "adapter_model.safetensors", "adapter_model.bin", "pytorch_model_fsdp.bin"};
constexpr const char *sharded_weights[] = {"pytorch_model_fsdp_0/", "pytorch_model_0/"};

bool is_shard(const std::string &name) { return (name.starts_with("model-") || name.starts_with("pytorch_model-")) && name.find("-of-") != std::string::npos; }

// The folder that DeepSpeed's `latest` names.
std::string inner_deepspeed(const CheckpointFacts &facts, bool &there) {
    there = facts.has("latest") || facts.has_under("global_step");
    if (!there)
        return "";
    const auto tag = whole_text(facts, "latest", 4096);
    if (!tag.problem.empty())
        return tag.problem;
    if (tag.text.find('/') != std::string::npos || !facts.has_under(tag.text + "/"))
        return fmt::format("latest names {}, which is missing", tag.text.substr(0, 64));
    return deepspeed_files_problem(facts_under(facts, tag.text + "/"));
}

std::string weights_problem(const CheckpointFacts &facts) {
    bool found = false, index = false;
    for (const auto *file : weights)
        found = found || facts.has(file);
    for (const auto *folder : sharded_weights) {
        if (!facts.has_under(folder))
            continue;
        found = true;
        if (auto problem = dcp_problem(facts_under(facts, folder)); !problem.empty())
            return fmt::format("{}: {}", folder, problem);
    }
    for (const auto &[name, size] : facts.files)
        index = index || name.ends_with(".index.json");
    for (const auto &[name, size] : facts.files)
        if (is_shard(name) && !index)
            return fmt::format("{} is one of several, and the index that names them is missing", name);
    return found ? "" : "the model's weights are missing";
}

std::string optimizer_problem(const CheckpointFacts &facts) {
    if (facts.has_under("optimizer_0/")) {
        const auto problem = dcp_problem(facts_under(facts, "optimizer_0/"));
        return problem.empty() ? "" : fmt::format("optimizer_0/: {}", problem);
    }
    return facts.has("optimizer.pt") || facts.has("optimizer.bin") ? "" : "optimizer.pt is missing: it can't be resumed from";
}

// How many ranks saved, where it can be told.
std::optional<std::int64_t> ranks_in(const CheckpointFacts &facts) {
    const auto saved = torch_pickle(facts, arguments_file);
    if (!saved.pickle)
        return std::nullopt;
    const auto state = saved.pickle->member(saved.pickle->root(), "distributed_state");
    const auto count = state ? saved.pickle->member(*state, "num_processes") : std::nullopt;
    const auto ranks = count ? saved.pickle->integer(*count) : std::nullopt;
    return ranks && *ranks >= 1 && *ranks <= most_ranks ? ranks : std::nullopt;
}

std::string random_problem(const CheckpointFacts &facts) {
    const auto random = numbered_files(facts, "rng_state_", ".pth", 1);
    if (!random.gap.empty())
        return fmt::format("{} is missing", random.gap);
    if (random.count == 0)
        return facts.has("rng_state.pth") ? "" : "rng_state.pth is missing, which is among the last that are saved";
    const auto ranks = ranks_in(facts).value_or(random.count);
    return random.count < ranks ? fmt::format("rng_state_{}.pth is missing (of {})", random.count, ranks) : "";
}

// Not what others may add later: results of an evaluation, a model card.
bool comes_before_state(const std::string &file) {
    for (const auto *beginning : {"model", "pytorch_model", "adapter_model", "optimizer", "scheduler", "global_step"})
        if (file.starts_with(beginning))
            return true;
    return file == arguments_file;
}

// What comes before trainer_state.json in a save and is younger than it, is of a save over an older one that has not ended.
std::string order_problem(const CheckpointFacts &facts) {
    const auto state = facts.written.find(state_file);
    for (const auto &[file, when] : facts.written) {
        if (state != facts.written.end() && comes_before_state(file) && when - state->second > clocks_differ)
            return fmt::format("{} is younger than {}, as of a save into it that has not ended (touch {} where that is not so)", file, state_file, state_file);
    }
    return "";
}

} // namespace

bool is_huggingface(const CheckpointFacts &facts) {
    if (!facts.folder)
        return false;
    for (const auto *file : {state_file, arguments_file, "config.json", "optimizer.pt", "scheduler.pt", "model.safetensors", "pytorch_model.bin"})
        if (facts.has(file))
            return true;
    return false;
}

std::string huggingface_problem(const CheckpointFacts &facts) {
    const auto state = whole_json(facts, state_file);
    if (!state.problem.empty())
        return state.problem;
    if (!state.object.is_object() || !state.object.value("global_step", Json{}).is_number_integer())
        return fmt::format("{} has no global_step", state_file);
    bool deepspeed = false;
    if (auto problem = inner_deepspeed(facts, deepspeed); !problem.empty())
        return problem;
    if (!deepspeed) // which has the weights itself
        if (auto problem = weights_problem(facts); !problem.empty())
            return problem;
    if (!deepspeed)
        if (auto problem = optimizer_problem(facts); !problem.empty())
            return problem;
    if (!deepspeed && !facts.has("scheduler.pt"))
        return "scheduler.pt is missing: it can't be resumed from";
    if (!facts.has(arguments_file))
        return fmt::format("{} is missing, which is saved with the weights", arguments_file);
    for (auto *rule : {random_problem, order_problem, every_file_problem})
        if (auto problem = rule(facts); !problem.empty())
            return problem;
    return "";
}

} // namespace trainctl
