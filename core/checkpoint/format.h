// The formats that checkpoints have, and the one rule for each: what is wrong with it, or nothing. Pure over facts.
// A new format is a file with its rule, a line in format.cpp's table and a value of CheckpointFormat.
#pragma once

#include "base/json.h"
#include "checkpoint/facts.h"

#include <string_view>

namespace trainctl {

// Of the nodes that write one checkpoint. A save over an older one comes later than that.
constexpr std::chrono::seconds clocks_differ{60};

struct Format {
    CheckpointFormat format = CheckpointFormat::plain;
    const char *name = ""; // as in checkpoint.format
    std::vector<std::string> patterns; // of names, where the user gives none
    bool own_names = false;            // nobody else names checkpoints so: `auto` goes by the name
    // Whether this is one of the kind at all, be it cut short.
    bool (*recognizes)(const CheckpointFacts &facts) = nullptr;
    // Why it is not complete; "" where it is.
    std::string (*problem)(const CheckpointFacts &facts) = nullptr;
};

// In the order in which `auto` tries them: what is part of others comes last.
const std::vector<Format> &checkpoint_formats();
const char *format_name(CheckpointFormat format);

// Names of checkpoints in their folder, by the user's pattern or the formats' own.
std::vector<std::string> patterns_of(const Checkpoint &spec);

// Lightning's last.ckpt and last-v1.ckpt have their step inside.
bool is_last_name(std::string_view name);
bool step_is_inside(const Checkpoint &spec, std::string_view name);
std::optional<std::int64_t> step_inside(const CheckpointFacts &facts);

// By the format that the user named, or by what is there. May fill in `zip` and `structure_problem`.
CheckpointVerdict judge(const Checkpoint &spec, CheckpointFacts &facts);

// Rules that are part of others' too. What is wrong, or "".
std::string torch_file_problem(const CheckpointFacts &facts, const std::string &name);
std::string safetensors_file_problem(const CheckpointFacts &facts, const std::string &name);
std::string shards_problem(const CheckpointFacts &facts, const std::string &index); // an index with a weight_map
std::string dcp_problem(const CheckpointFacts &facts);
std::string torch_dist_problem(const CheckpointFacts &facts);
std::string deepspeed_files_problem(const CheckpointFacts &facts);

// NeMo's mark beside it, that a save has not ended.
bool is_unfinished(const CheckpointFacts &facts);
// The whole text of a small file; a text above `most` is not read.
struct WholeText {
    std::string text, problem; // one of them
};
WholeText whole_text(const CheckpointFacts &facts, const std::string &name, std::uint64_t most);
// JSON: an object.
struct WholeJson {
    Json object;
    std::string problem; // "" where there is an object
};
WholeJson whole_json(const CheckpointFacts &facts, const std::string &name);
// By what their names end with: torch.save files, safetensors, indexes and JSON are looked into, and none may be empty.
std::string every_file_problem(const CheckpointFacts &facts);
// Names of ranks must leave no gap: "rng_state_{}.pth" with 0, 1, 2. How many there are, from 0 without a gap.
struct Numbered {
    int count = 0;
    std::string gap; // the first that is missing before the last; "" where none is
};
Numbered numbered_files(const CheckpointFacts &facts, const std::string &before, const std::string &after, int digits);

// One rule each.
bool is_torch(const CheckpointFacts &facts);
std::string torch_problem(const CheckpointFacts &facts);
bool is_safetensors(const CheckpointFacts &facts);
std::string safetensors_problem(const CheckpointFacts &facts);
bool is_dcp(const CheckpointFacts &facts);
bool is_huggingface(const CheckpointFacts &facts);
std::string huggingface_problem(const CheckpointFacts &facts);
bool is_lightning(const CheckpointFacts &facts);
std::string lightning_problem(const CheckpointFacts &facts);
bool is_deepspeed(const CheckpointFacts &facts);
std::string deepspeed_problem(const CheckpointFacts &facts);
bool is_megatron(const CheckpointFacts &facts);
std::string megatron_problem(const CheckpointFacts &facts);
bool is_nemo(const CheckpointFacts &facts);
std::string nemo_problem(const CheckpointFacts &facts);
bool is_orbax(const CheckpointFacts &facts);
std::string orbax_problem(const CheckpointFacts &facts);

} // namespace trainctl
