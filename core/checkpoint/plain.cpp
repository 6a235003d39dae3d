#include "checkpoint/checkpoint.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <set>

namespace trainctl {

namespace {

constexpr std::size_t max_digits = 18; // fits 64 bits with a sign
constexpr std::size_t sha256_digits = 64;

bool digits_only(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_sha256(std::string_view text) {
    return text.size() == sha256_digits && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    });
}

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    if (!digits_only(text) || text.size() > max_digits)
        return std::nullopt;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// The first word of `rest`, taken off with one space behind it.
std::string_view take_word(std::string_view &rest) {
    const auto space = rest.find(' ');
    const auto word = rest.substr(0, space);
    rest.remove_prefix(space == std::string_view::npos ? rest.size() : space + 1);
    return word;
}

bool stays_inside(std::string_view name) {
    if (name.empty() || name.front() == '/')
        return false;
    const auto parts = split(name, '/');
    return std::none_of(parts.begin(), parts.end(), [](const std::string &p) { return p.empty() || p == "." || p == ".."; });
}

std::optional<ManifestEntry> parse_line(std::string_view line) {
    ManifestEntry entry;
    std::string_view rest = line;
    const auto first = take_word(rest);
    if (is_sha256(first)) {
        entry.sha256 = first;
        std::transform(entry.sha256.begin(), entry.sha256.end(), entry.sha256.begin(),
                       [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; });
        // sha256sum writes a second space, or '*' for binary, before the name.
        if (!rest.empty() && (rest.front() == ' ' || rest.front() == '*')) {
            rest.remove_prefix(1);
        } else if (auto after = rest; digits_only(take_word(after)) && !after.empty()) {
            entry.size = number(take_word(rest));
            if (!entry.size)
                return std::nullopt;
        }
    } else {
        entry.size = number(first);
        if (!entry.size)
            return std::nullopt;
    }
    entry.name = rest;
    return stays_inside(entry.name) ? std::optional{entry} : std::nullopt;
}

bool hidden(const std::string &path) { return path.front() == '.' || path.find("/.") != std::string::npos; }

// Where a checkpoint's marker or manifest of this name lies, as in CheckpointFacts::files.
std::string place_of(const std::string &setting, const std::string &name, bool folder) {
    return folder ? setting : name + setting;
}

std::string marker_of(const Checkpoint &spec, const CheckpointFacts &facts) {
    if (!spec.marker.empty())
        return place_of(spec.marker, facts.name, facts.folder);
    if (!spec.manifest.empty())
        return "";
    const std::string usual = facts.folder ? "COMPLETE" : facts.name + ".done";
    return facts.files.contains(usual) ? usual : "";
}

CheckpointVerdict refuse(std::string why) { return {.complete = false, .why_not = std::move(why)}; }

// Every promise of the manifest against the files, and every file against the manifest.
CheckpointVerdict judge_manifest(const CheckpointFacts &facts, const std::string &marker) {
    const auto entries = parse_manifest(facts.manifest);
    if (!entries)
        return refuse(fmt::format("{}: {}", facts.manifest_name, entries.error().message));
    CheckpointVerdict verdict{.complete = true, .why_not = ""};
    std::set<std::string> named;
    for (const auto &entry : *entries) {
        const auto file = facts.files.find(entry.name);
        if (file == facts.files.end())
            return refuse(fmt::format("{} is missing ({} names it)", entry.name, facts.manifest_name));
        if (entry.size && file->second != *entry.size)
            return refuse(fmt::format("{} has {} bytes, not {} as in {}", entry.name, file->second, *entry.size,
                                      facts.manifest_name));
        named.insert(entry.name);
        if (!entry.sha256.empty())
            verdict.to_hash.push_back(entry);
    }
    if (!facts.folder && !named.contains(facts.name))
        return refuse(fmt::format("{} does not name {}", facts.manifest_name, facts.name));
    for (const auto &[name, size] : facts.files)
        if (facts.folder && name != facts.manifest_name && name != marker && !hidden(name) && !named.contains(name))
            return refuse(fmt::format("{} is not in {}, which may be cut short", name, facts.manifest_name));
    return verdict;
}

} // namespace

Result<std::vector<ManifestEntry>> parse_manifest(std::string_view text) {
    const auto invalid = [](std::string message) { return Error{ErrorKind::invalid, std::move(message), "", ""}; };
    if (text.empty())
        return invalid("the manifest is empty");
    if (text.back() != '\n')
        return invalid("the manifest is cut short: its last line has no end");
    std::vector<ManifestEntry> entries;
    std::set<std::string> names;
    for (const auto &line : split_lines(text)) {
        auto entry = parse_line(line);
        if (!entry)
            return invalid(fmt::format("the manifest's line {} is none of \"<size> <name>\", \"<sha256> <name>\" and "
                                       "\"<sha256> <size> <name>\"", entries.size() + 1));
        if (!names.insert(entry->name).second)
            return invalid(fmt::format("the manifest names {} twice", entry->name));
        entries.push_back(std::move(*entry));
    }
    return entries;
}

std::string manifest_of(const Checkpoint &spec, const std::string &name, bool folder,
                        const std::map<std::string, std::uint64_t> &files) {
    if (!spec.manifest.empty())
        return place_of(spec.manifest, name, folder);
    if (!spec.marker.empty())
        return "";
    const std::string usual = folder ? "MANIFEST" : name + ".manifest";
    return files.contains(usual) ? usual : "";
}

CheckpointVerdict judge_checkpoint(const Checkpoint &spec, const CheckpointFacts &facts) {
    const std::string marker = marker_of(spec, facts);
    if (!marker.empty() && !facts.files.contains(marker))
        return refuse(fmt::format("its marker {} is missing", marker));
    if (!facts.manifest_name.empty()) {
        if (!facts.files.contains(facts.manifest_name))
            return refuse(fmt::format("its manifest {} is missing", facts.manifest_name));
        return judge_manifest(facts, marker);
    }
    if (!facts.structure_problem.empty())
        return refuse(facts.structure_problem);
    if (marker.empty() && !facts.zip)
        return refuse("nothing tells whether it is complete: set checkpoint.marker or checkpoint.manifest");
    return {.complete = true, .why_not = ""};
}

} // namespace trainctl
