#include "checkpoint/tracker.h"

#include "base/text.h"
#include "checkpoint/format.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::size_t most_said = 64; // of a tracker, in messages

bool newer_beside(const CheckpointFacts &facts, std::int64_t step) {
    return std::any_of(facts.around->steps.begin(), facts.around->steps.end(), [&](const auto &one) { return one.second > step; });
}

std::string younger_file(const CheckpointFacts &facts, const std::string &tracker) {
    const auto written = facts.around->written.find(tracker);
    if (written == facts.around->written.end())
        return "";
    for (const auto &[file, when] : facts.written) {
        const bool saved = file.ends_with(".pt") || file.ends_with(".distcp") || file.ends_with(".metadata"); // others may add to it later
        if (saved && when - written->second > clocks_differ)
            return file;
    }
    return "";
}

} // namespace

std::optional<std::int64_t> step_beside(const CheckpointFacts &facts, const std::string &name, const std::string &pattern) {
    if (facts.around)
        if (const auto found = facts.around->steps.find(name); found != facts.around->steps.end())
            return found->second;
    return step_of_name(pattern, name);
}

std::string tracker_problem(const CheckpointFacts &facts, std::int64_t step, const TrackerWord &word) {
    const auto said = word.said.substr(0, most_said);
    if (!facts.around)
        return fmt::format("{} can't be seen: whether its save has ended can't be told", word.file);
    if (word.step && *word.step >= step) {
        if (*word.step > step && word.there)
            return "";
        const auto younger = younger_file(facts, word.file);
        return younger.empty() ? "" : fmt::format("{} is younger than {}, as of a save into it that has not ended (touch {} where that is not so)", younger, word.file, word.file);
    }
    if (word.step && word.there)
        return fmt::format("{} still says {}: its save has not ended", word.file, said);
    if (newer_beside(facts, step))
        return "";
    return fmt::format("{} is {}: whether its save has ended can't be told", word.file, said.empty() ? "missing or empty" : "damaged");
}

Result<std::optional<TrackerAimed>> aim_tracker(Files &files, const std::string &dir, const CheckpointSeen &chosen) {
    const bool deepspeed = chosen.format == format_name(CheckpointFormat::deepspeed);
    if ((!deepspeed && chosen.format != format_name(CheckpointFormat::megatron)) || chosen.path != join_path(dir, base_name(chosen.path)))
        return std::optional<TrackerAimed>{};
    TrackerAimed out{join_path(dir, deepspeed ? deepspeed_tracker : megatron_tracker), "",
                     deepspeed ? base_name(chosen.path) : std::to_string(chosen.step)};
    const auto before = files.read(out.path);
    if (!before)
        return before.error();
    out.before = before->value_or("");
    if (trim(out.before) == out.now)
        return std::optional<TrackerAimed>{};
    std::error_code unknown, kept;
    const auto mode = std::filesystem::status(out.path, unknown).permissions();
    if (auto written = files.write(out.path, out.now); !written)
        return written.error();
    if (!unknown && *before) // others may read it who could before
        std::filesystem::permissions(out.path, mode, kept);
    return std::optional{std::move(out)};
}

} // namespace trainctl
