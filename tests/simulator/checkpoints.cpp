#include "simulator/checkpoints.h"

#include "base/text.h"

#include <fmt/format.h>

namespace trainctl::sim {

namespace {

const std::string manifest_name = "MANIFEST", marker_name = "COMPLETE";

// Of fixed width: a part of one save is as large as that of another, and sizes alone tell nothing.
std::string save_id(const SetKey &key) { return fmt::format("{:03}.{:06}.{:03}.{:03}", key.attempt, key.job, key.restarts, key.generation); }

} // namespace

ModelState trained_on(ModelState state) {
    ++state.step;
    state.digest = (state.digest ^ static_cast<std::uint64_t>(state.step)) * 0x9e3779b97f4a7c15u;
    state.digest ^= state.digest >> 29;
    return state;
}

ModelState undisturbed(int step) {
    ModelState state;
    while (state.step < step)
        state = trained_on(state);
    return state;
}

Checkpoint Checkpoints::spec() const {
    Checkpoint out;
    out.pattern = "step-{step}";
    if (style_ == SaveStyle::marker)
        out.marker = marker_name;
    else
        out.manifest = manifest_name;
    return out;
}

std::string Checkpoints::path(int step) const { return fmt::format("{}/step-{:06}", dir_, step); }

std::string Checkpoints::draft(const SetKey &key, int step) const {
    return style_ == SaveStyle::renamed ? fmt::format("{}/tmp-{:06}.{}", dir_, step, save_id(key)) : path(step);
}

std::string Checkpoints::shard(const SetKey &key, const ModelState &state, std::size_t part, std::size_t parts) {
    return fmt::format("{} {:06} {:016x} {:02} of {:02}.", save_id(key), state.step, state.digest, part, parts);
}

bool Checkpoints::ours(const SetKey &key, const std::string &content) { return starts_with(content, save_id(key)); }

std::string Checkpoints::manifest(const SetKey &key, const ModelState &state, std::size_t parts) {
    std::string out;
    for (std::size_t part = 0; part < parts; ++part)
        out += fmt::format("{} {}\n", shard(key, state, part, parts).size(), shard_name(part));
    return out;
}

std::optional<ModelState> Checkpoints::whole(const std::string &path) const {
    const auto first = disk_.files.find(path + "/" + shard_name(0));
    if (first == disk_.files.end())
        return std::nullopt;
    const auto words = split(first->second, ' ');
    if (words.size() != 6 || words[5].back() != '.')
        return std::nullopt;
    const ModelState state{std::stoi(words[1]), std::stoull(words[2], nullptr, 16)};
    const auto parts = static_cast<std::size_t>(std::stoi(words[5]));
    for (std::size_t part = 0; part < parts; ++part) {
        const auto file = disk_.files.find(path + "/" + shard_name(part));
        const auto expected = fmt::format("{} {} {} {:02} of {}", words[0], words[1], words[2], part, words[5]);
        if (file == disk_.files.end() || file->second != expected)
            return std::nullopt;
    }
    return state;
}

CheckpointFacts Checkpoints::facts(const std::string &path) const {
    CheckpointFacts facts;
    facts.name = base_name(path);
    for (const auto &name : disk_.names_in(path))
        facts.files[name] = disk_.files.at(path + "/" + name).size();
    facts.manifest_name = manifest_of(spec(), facts.name, true, facts.files);
    if (const auto file = disk_.files.find(path + "/" + facts.manifest_name); !facts.manifest_name.empty() && file != disk_.files.end())
        facts.manifest = file->second;
    return facts;
}

CheckpointChoice Checkpoints::newest_complete(HostFiles &files) const {
    CheckpointChoice choice;
    const auto names = files.list(dir_);
    if (!names)
        return choice;
    const auto steps = steps_of_names(spec().pattern, *names);
    for (auto named = steps.rbegin(); named != steps.rend(); ++named) {
        CheckpointSeen seen;
        seen.path = dir_ + "/" + named->name;
        seen.step = named->step;
        // What a host remembers of names may be old; what is in the files is not.
        const auto inside = files.list(seen.path);
        auto known = facts(seen.path);
        for (auto file = known.files.begin(); inside && file != known.files.end();)
            file = std::find(inside->begin(), inside->end(), file->first) == inside->end() ? known.files.erase(file) : std::next(file);
        const auto verdict = judge_checkpoint(spec(), known);
        seen.complete = verdict.complete;
        seen.why_not = verdict.why_not;
        if (seen.complete) {
            choice.newest = std::move(seen);
            break;
        }
        choice.refused.push_back(std::move(seen));
    }
    return choice;
}

void Checkpoints::remove_old(HostFiles &files, int keep, const std::string &in_use) {
    const auto names = files.list(dir_);
    if (!names)
        return;
    std::vector<CheckpointSeen> seen;
    for (const auto &named : steps_of_names(spec().pattern, *names)) {
        CheckpointSeen one;
        one.path = dir_ + "/" + named.name;
        one.step = named.step;
        one.complete = judge_checkpoint(spec(), facts(one.path)).complete;
        seen.push_back(std::move(one));
    }
    for (const auto &path : checkpoints_to_remove(seen, keep, {in_use}))
        if (files.list(path)) // takes its time, as deleting does
            disk_.remove_tree(path);
}

std::vector<int> Checkpoints::complete_steps() const {
    std::vector<int> out;
    for (const auto &named : steps_of_names(spec().pattern, disk_.names_in(dir_)))
        if (judge_checkpoint(spec(), facts(dir_ + "/" + named.name)).complete)
            out.push_back(static_cast<int>(named.step));
    return out;
}

} // namespace trainctl::sim
