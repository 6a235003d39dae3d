#include "checkpoint/format.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/zip.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace trainctl {

namespace {

using F = CheckpointFormat;

// Each costs a few reads, on file systems where one takes milliseconds.
constexpr std::size_t max_zips = 256;

std::string no_problem(const CheckpointFacts &) { return ""; }
bool never(const CheckpointFacts &) { return false; }

const Format *find_format(F format) {
    for (const auto &one : checkpoint_formats())
        if (one.format == format)
            return &one;
    return nullptr;
}

bool named_by(const Format &format, const std::string &name) {
    return std::any_of(format.patterns.begin(), format.patterns.end(),
                       [&](const auto &pattern) { return step_of_name(pattern, name).has_value(); });
}

// Whose rules hold. Null: nobody's.
const Format *recognize(const Checkpoint &spec, const CheckpointFacts &facts) {
    if (spec.format != F::automatic)
        return find_format(spec.format);
    const bool marked = facts.has(facts.folder ? "COMPLETE" : facts.name + ".done");
    if (!spec.marker.empty() || !spec.manifest.empty() || !facts.manifest_name.empty() || marked)
        return find_format(F::plain);
    for (const auto &one : checkpoint_formats())
        if (one.own_names && (named_by(one, facts.name) || (one.format == F::lightning && is_last_name(facts.name))))
            return &one;
    for (const auto &one : checkpoint_formats())
        if (one.recognizes(facts))
            return &one;
    return nullptr;
}

// Without a manifest, files that are zips are checked for their end: a marker can't tell that a file was cut.
void look_into_zips(CheckpointFacts &facts) {
    std::size_t checked = 0;
    for (const auto &[name, size] : facts.files) {
        const auto read = [&, file = name](std::uint64_t offset, std::size_t length) { return facts.read(file, offset, length); };
        if (read(0, 4) != "PK\3\4")
            continue;
        facts.zip = facts.zip || name == facts.name;
        if (const auto problem = zip_problem(read, size); !problem.empty()) {
            facts.structure_problem = fmt::format("{}: {}", name, problem);
            return;
        }
        if (++checked == max_zips)
            return;
    }
}

CheckpointVerdict judge_plain(const Checkpoint &spec, CheckpointFacts &facts) {
    if (facts.manifest_name.empty() && facts.read)
        look_into_zips(facts);
    return judge_checkpoint(spec, facts);
}

} // namespace

const std::vector<Format> &checkpoint_formats() {
    static const std::vector<Format> formats = {
        {F::orbax, "orbax", {"{step}", "checkpoint_{step}", "step_{step}"}, false, is_orbax, orbax_problem},
        {F::megatron, "megatron", {"iter_{step}"}, true, is_megatron, megatron_problem},
        {F::deepspeed, "deepspeed", {"global_step{step}"}, true, is_deepspeed, deepspeed_problem},
        {F::huggingface, "huggingface", {"checkpoint-{step}"}, true, is_huggingface, huggingface_problem},
        {F::lightning, "lightning", {"*step={step}*.ckpt"}, true, is_lightning, lightning_problem},
        {F::nemo, "nemo", {"*step={step}*"}, false, is_nemo, nemo_problem},
        {F::dcp, "dcp", {"step-{step}", "step_{step}"}, false, is_dcp, dcp_problem},
        {F::safetensors, "safetensors", {"step-{step}.safetensors", "step_{step}.safetensors", "step-{step}", "step_{step}"}, false,
         is_safetensors, safetensors_problem},
        {F::torch, "torch", {"step-{step}.pt", "step_{step}.pt", "checkpoint-{step}.pt", "checkpoint_{step}.pt", "ckpt-{step}.pt", "ckpt_{step}.pt"},
         false, is_torch, torch_problem},
        {F::plain, "plain", {"step-{step}"}, false, never, no_problem},
        {F::pattern, "plain", {"step-{step}"}, false, never, no_problem},
        {F::automatic, "auto", {}, false, never, no_problem},
    };
    return formats;
}

const char *format_name(F format) {
    const auto *found = find_format(format);
    return found ? found->name : "";
}

std::vector<std::string> patterns_of(const Checkpoint &spec) {
    if (!spec.pattern.empty())
        return {spec.pattern};
    if (spec.format != F::automatic)
        return find_format(spec.format)->patterns;
    if (!spec.marker.empty() || !spec.manifest.empty())
        return find_format(F::plain)->patterns;
    std::vector<std::string> all;
    for (const auto &one : checkpoint_formats())
        for (const auto &pattern : one.patterns)
            if (std::find(all.begin(), all.end(), pattern) == all.end())
                all.push_back(pattern);
    return all;
}

CheckpointVerdict judge(const Checkpoint &spec, CheckpointFacts &facts) {
    const auto *format = recognize(spec, facts);
    if (!format || format->format == F::plain || format->format == F::pattern) {
        auto verdict = judge_plain(spec, facts);
        verdict.format = format ? F::plain : F::automatic;
        verdict.recognized = format != nullptr;
        if (!format && !verdict.complete)
            verdict.why_not = "nothing in it is of a known format: set checkpoint.marker or checkpoint.manifest";
        return verdict;
    }
    CheckpointVerdict verdict{.complete = true, .why_not = "", .to_hash = {}, .format = format->format, .recognized = true};
    if (!spec.marker.empty() || !spec.manifest.empty())
        verdict = judge_checkpoint(spec, facts);
    verdict.format = format->format;
    if (!format->recognizes(facts)) {
        verdict = {.complete = false, .why_not = fmt::format("nothing in it is of the format {}", format->name), .to_hash = {}, .format = format->format,
                   .recognized = false};
    } else if (verdict.complete) {
        const bool weights_only = spec.format == F::automatic && format->format == F::safetensors && facts.folder;
        verdict.why_not = weights_only ? "safetensors alone don't tell what else belongs to it: where they are all, set checkpoint.format: safetensors"
                                       : format->problem(facts);
        verdict.complete = verdict.why_not.empty();
    }
    return verdict;
}

} // namespace trainctl
