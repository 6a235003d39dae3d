// Hugging Face Trainer: checkpoint-<step> with the weights, then optimizer.pt and scheduler.pt, then each rank's rng_state, and
// trainer_state.json near the end. transformers 4.30 to 4.57, trainer.py, _save_checkpoint(); before 4.45 trainer_state.json came
// before the random states, and not all ranks wait for each other, so that no one file tells that the save has ended.
// With FSDP: pytorch_model_fsdp_0/ and optimizer_0/ (accelerate, utils/fsdp_utils.py); with DeepSpeed: `latest` and
// global_step<step>/ inside.
#include "checkpoint/format.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr const char *state_file = "trainer_state.json";
constexpr const char *weights[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
                                   "adapter_model.safetensors", "adapter_model.bin", "pytorch_model_fsdp.bin"};
constexpr const char *sharded_weights[] = {"pytorch_model_fsdp_0/", "pytorch_model_0/"};

bool is_shard(const std::string &name) { return name.find("model-") == 0 && name.find("-of-") != std::string::npos; }

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

} // namespace

bool is_huggingface(const CheckpointFacts &facts) {
    if (!facts.folder)
        return false;
    for (const auto *file : {state_file, "training_args.bin", "config.json", "optimizer.pt", "scheduler.pt", "model.safetensors", "pytorch_model.bin"})
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
    if (!facts.has("training_args.bin"))
        return "training_args.bin is missing, which is saved with the weights";
    const auto random = numbered_files(facts, "rng_state_", ".pth", 1);
    if (!random.gap.empty())
        return fmt::format("{} is missing", random.gap);
    if (random.count == 0 && !facts.has("rng_state.pth"))
        return "rng_state.pth is missing, which is among the last that are saved";
    return every_file_problem(facts);
}

} // namespace trainctl
