// safetensors: eight bytes of length, a JSON header of so many bytes with each tensor's data_offsets, then the data, which the
// tensors cover without a gap. README.md of huggingface/safetensors 0.4, "Format"; its Rust reader refuses headers above 100 MB.
// Sharded: an index with weight_map, tensor -> file (transformers 4, modeling_utils.py; huggingface_hub, serialization/).
#include "checkpoint/format.h"

#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

constexpr std::uint64_t max_header = 32u << 20; // of some 300,000 tensors

struct Header {
    Json tensors;
    std::string problem;
};

Header read_header(const CheckpointFacts &facts, const std::string &name) {
    const auto file = facts.files.find(name);
    if (file == facts.files.end())
        return {{}, fmt::format("{} is missing", name)};
    const auto length = facts.read(name, 0, 8);
    if (length.size() < 8)
        return {{}, fmt::format("{} is cut short: it has no header", name)};
    std::uint64_t bytes = 0;
    for (std::size_t i = 8; i-- > 0;)
        bytes = bytes << 8 | static_cast<unsigned char>(length[i]);
    if (bytes > max_header || bytes > file->second - 8)
        return {{}, fmt::format("{} is cut short or none: a header of {} bytes", name, bytes)};
    auto header = parse_json(facts.read(name, 8, static_cast<std::size_t>(bytes)), name);
    if (!header || !header->is_object())
        return {{}, fmt::format("{} has a damaged header", name)};
    // From here on the data's own size against what the tensors need.
    std::uint64_t end = 0, covered = 0;
    for (const auto &[tensor, value] : header->items()) {
        if (tensor == "__metadata__")
            continue;
        const auto offsets = value.is_object() ? value.value("data_offsets", Json{}) : Json{};
        if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned() || offsets[0] > offsets[1])
            return {{}, fmt::format("{} has a damaged header: {}", name, tensor)};
        end = std::max(end, offsets[1].get<std::uint64_t>());
        covered += offsets[1].get<std::uint64_t>() - offsets[0].get<std::uint64_t>();
    }
    const auto data = file->second - 8 - bytes;
    if (data != end || covered != end)
        return {{}, fmt::format("{} has {} bytes of tensors, not {} as in its header", name, data, end)};
    return {std::move(*header), ""};
}

// The files that an index names, each with its tensors.
std::string read_index(const CheckpointFacts &facts, const std::string &index, std::map<std::string, std::set<std::string>> &files) {
    const auto json = whole_json(facts, index);
    if (!json.problem.empty())
        return json.problem;
    const auto map = json.object.is_object() ? json.object.value("weight_map", Json{}) : Json{};
    if (!map.is_object() || map.empty())
        return fmt::format("{} has no weight_map", index);
    const auto folder = index.substr(0, index.rfind('/') == std::string::npos ? 0 : index.rfind('/') + 1);
    for (const auto &[tensor, file] : map.items()) {
        if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos)
            return fmt::format("{} names no file for {}", index, tensor);
        files[folder + file.get<std::string>()].insert(tensor);
    }
    return "";
}

// "model-00002-of-00003.safetensors" is part of something that its index would name.
bool is_shard(const std::string &name) {
    const auto of = name.rfind("-of-");
    return of != std::string::npos && name.find_first_not_of("0123456789", of + 4) == name.rfind(".safetensors");
}

} // namespace

std::string safetensors_file_problem(const CheckpointFacts &facts, const std::string &name) { return read_header(facts, name).problem; }

std::string shards_problem(const CheckpointFacts &facts, const std::string &index) {
    std::map<std::string, std::set<std::string>> files;
    if (auto problem = read_index(facts, index, files); !problem.empty())
        return problem;
    for (const auto &[file, tensors] : files) {
        if (!facts.has(file))
            return fmt::format("{} is missing ({} names it)", file, index);
        if (!file.ends_with(".safetensors")) {
            if (auto problem = torch_file_problem(facts, file); !problem.empty())
                return problem;
            continue;
        }
        const auto header = read_header(facts, file);
        if (!header.problem.empty())
            return header.problem;
        for (const auto &tensor : tensors)
            if (!header.tensors.contains(tensor))
                return fmt::format("{} has no tensor {}, which {} puts there", file, tensor, index);
    }
    return "";
}

bool is_safetensors(const CheckpointFacts &facts) {
    for (const auto &[name, size] : facts.files)
        if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"))
            return true;
    return false;
}

std::string safetensors_problem(const CheckpointFacts &facts) {
    if (!facts.folder)
        return safetensors_file_problem(facts, facts.name);
    bool index = false;
    for (const auto &[name, size] : facts.files)
        index = index || name.ends_with(".safetensors.index.json");
    for (const auto &[name, size] : facts.files)
        if (!index && is_shard(name))
            return fmt::format("{} is one of several, and the index that names them is missing", name);
    return every_file_problem(facts);
}

} // namespace trainctl
