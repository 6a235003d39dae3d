// What several formats have in common: whole files of text and JSON, and files numbered by rank.
#include "base/text.h"
#include "checkpoint/format.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

constexpr std::uint64_t max_json = 32u << 20; // an index of 100,000 tensors takes some 10 MiB

bool is_hidden(const std::string &path) { return path.front() == '.' || path.find("/.") != std::string::npos; }

bool may_be_empty(const std::string &name) { return is_hidden(name) || name.ends_with(".py") || name.ends_with(".lock"); }

std::string file_problem(const CheckpointFacts &facts, const std::string &name) {
    if (name.ends_with(".safetensors"))
        return safetensors_file_problem(facts, name);
    if (name.ends_with(".index.json"))
        return shards_problem(facts, name);
    if (name.ends_with(".json"))
        return whole_json(facts, name).problem;
    for (const auto *end : {".pt", ".pth", ".bin", ".ckpt"})
        if (name.ends_with(end))
            return torch_file_problem(facts, name);
    return "";
}

} // namespace

bool is_unfinished(const CheckpointFacts &facts) {
    if (!facts.around)
        return false;
    // The mark's name is without the end, and a copy of averaged weights has the mark of the save that it belongs to.
    std::string stem = facts.name;
    for (const std::string_view end : {".ckpt", ".nemo", "-EMA"})
        if (stem.ends_with(end))
            stem.resize(stem.size() - end.size());
    return facts.around->has(facts.name + "-unfinished") || facts.around->has(stem + "-unfinished");
}

WholeText whole_text(const CheckpointFacts &facts, const std::string &name, std::uint64_t most) {
    const auto file = facts.files.find(name);
    if (file == facts.files.end())
        return {"", fmt::format("{} is missing", name)};
    if (file->second == 0)
        return {"", fmt::format("{} is empty", name)};
    if (file->second > most)
        return {"", fmt::format("{} is above {}", name, human_bytes(most))};
    auto text = facts.read(name, 0, static_cast<std::size_t>(file->second));
    if (text.size() != file->second)
        return {"", fmt::format("{} can't be read to its end", name)};
    return {std::move(text), ""};
}

WholeJson whole_json(const CheckpointFacts &facts, const std::string &name) {
    auto text = whole_text(facts, name, max_json);
    if (!text.problem.empty())
        return {{}, text.problem};
    auto parsed = parse_json(text.text, name);
    if (!parsed || !(parsed->is_object() || parsed->is_array()))
        return {{}, fmt::format("{} is no whole JSON", name)};
    return {std::move(*parsed), ""};
}

std::string every_file_problem(const CheckpointFacts &facts) {
    for (const auto &[name, size] : facts.files) {
        if (size == 0 && !may_be_empty(name))
            return fmt::format("{} is empty", name);
        if (is_hidden(name))
            continue;
        if (auto problem = file_problem(facts, name); !problem.empty())
            return problem;
    }
    return "";
}

Numbered numbered_files(const CheckpointFacts &facts, const std::string &before, const std::string &after, int digits) {
    std::set<std::int64_t> seen;
    for (auto file = facts.files.lower_bound(before); file != facts.files.end() && file->first.starts_with(before); ++file) {
        const auto rest = std::string_view{file->first}.substr(before.size());
        if (rest.size() <= after.size() || !rest.ends_with(after))
            continue;
        const auto number = rest.substr(0, rest.size() - after.size());
        if (number.size() < 10 && std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; }))
            seen.insert(std::stoll(std::string{number}));
    }
    Numbered out;
    for (const auto number : seen) {
        if (number != out.count) {
            out.gap = fmt::format("{}{:0{}}{}", before, out.count, digits, after);
            return out;
        }
        ++out.count;
    }
    return out;
}

} // namespace trainctl
