#include "recovery/node_memory.h"

#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <tuple>

namespace trainctl {

namespace {

constexpr std::size_t most_notes = 2000; // the oldest make room

std::string folder(const std::string &root) { return join_path(root, "nodes"); }

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
}

// Names of nodes have no slash; whatever else a site puts into one stays as it is.
bool fits_a_file_name(const std::string &node) { return !node.empty() && node.size() < 128 && node.find('/') == std::string::npos; }

} // namespace

std::string note_file_name(const NodeNote &note) {
    return fmt::format("{}.{}.{}-{}-{}.{}.json", note.until, note.proven ? "proof" : "doubt", note.run, note.attempt, note.generation, note.node);
}

std::optional<NodeNote> parse_note_file_name(const std::string &name) {
    constexpr std::string_view ending = ".json";
    // The node comes last, as its name may have dots of its own.
    const auto first = name.find('.'), second = name.find('.', first + 1), third = name.find('.', second + 1);
    if (third == std::string::npos || !ends_with(name, ending) || third + ending.size() + 1 > name.size())
        return std::nullopt;
    const auto until = number(std::string_view{name}.substr(0, first));
    const auto certainty = name.substr(first + 1, second - first - 1);
    const auto from = name.substr(second + 1, third - second - 1);
    const auto last = from.rfind('-'), before = last == std::string::npos || last == 0 ? std::string::npos : from.rfind('-', last - 1);
    if (!until || (certainty != "proof" && certainty != "doubt") || before == std::string::npos)
        return std::nullopt;
    const auto attempt = number(std::string_view{from}.substr(before + 1, last - before - 1));
    const auto generation = number(std::string_view{from}.substr(last + 1));
    const auto node = name.substr(third + 1, name.size() - ending.size() - third - 1);
    if (!attempt || !generation || node.empty())
        return std::nullopt;
    NodeNote note;
    note.node = node;
    note.run = from.substr(0, before);
    note.attempt = static_cast<int>(*attempt);
    note.generation = static_cast<int>(*generation);
    note.proven = certainty == "proof";
    note.until = *until;
    return note;
}

Result<std::vector<NodeNote>> remembered_nodes(Files &files, const std::string &root, std::int64_t now) {
    const auto names = files.list(folder(root));
    if (!names)
        return names.error();
    std::vector<NodeNote> notes;
    for (const auto &name : *names)
        if (auto note = parse_note_file_name(name); note && note->until > now)
            notes.push_back(std::move(*note));
    std::sort(notes.begin(), notes.end(), [](const auto &a, const auto &b) {
        return std::tie(a.node, a.until, a.run, a.attempt, a.generation) < std::tie(b.node, b.until, b.run, b.attempt, b.generation);
    });
    return notes;
}

Result<std::vector<NodeNote>> read_remembered_nodes(Files &files, const std::string &root, std::int64_t now) {
    auto notes = remembered_nodes(files, root, now);
    if (!notes)
        return notes;
    for (auto &note : *notes) {
        const auto path = join_path(folder(root), note_file_name(note));
        const auto text = files.read(path);
        if (!text)
            return text.error();
        const auto json = parse_json(*text ? **text : "{}", path);
        if (!json || !json->is_object())
            continue; // its name says enough
        note.failure_class = json->value("class", "");
        note.why = json->value("why", "");
        note.when = json->value("when", std::int64_t{0});
    }
    return notes;
}

Result<void> remember_node(Files &files, const std::string &root, const NodeNote &note, std::int64_t now) {
    if (!fits_a_file_name(note.node) || note.until <= now)
        return {};
    if (auto made = files.make_dirs(folder(root)); !made)
        return made;
    auto names = files.list(folder(root));
    if (!names)
        return names.error();
    std::vector<std::pair<std::int64_t, std::string>> by_age;
    for (const auto &name : *names)
        if (const auto old = parse_note_file_name(name))
            by_age.emplace_back(old->until, name);
    std::sort(by_age.begin(), by_age.end());
    for (std::size_t i = 0; i < by_age.size(); ++i)
        if (by_age[i].first <= now || by_age.size() - i >= most_notes)
            if (auto removed = files.remove(join_path(folder(root), by_age[i].second)); !removed)
                return removed;
    const Json json{{"node", note.node}, {"run", note.run}, {"class", note.failure_class}, {"why", note.why}, {"when", note.when}};
    const auto written = files.publish(join_path(folder(root), note_file_name(note)), dump_json(json, 2) + "\n");
    return written ? Result<void>{} : Result<void>{written.error()};
}

Result<int> forget_nodes(Files &files, const std::string &root, const std::set<std::string> &nodes) {
    const auto names = files.list(folder(root));
    if (!names)
        return names.error();
    int forgotten = 0;
    for (const auto &name : *names) {
        const auto note = parse_note_file_name(name);
        if (!note || (!nodes.empty() && !nodes.contains(note->node)))
            continue;
        if (auto removed = files.remove(join_path(folder(root), name)); !removed)
            return removed.error();
        ++forgotten;
    }
    return forgotten;
}

std::map<std::string, int> times_named(const std::vector<NodeNote> &notes) {
    std::map<std::string, int> times;
    for (const auto &note : notes)
        ++times[note.node];
    return times;
}

std::set<std::string> nodes_to_avoid(const std::vector<NodeNote> &notes, int most_doubted) {
    std::set<std::string> avoid;
    std::map<std::string, std::int64_t> newest; // of those that were only doubted
    for (const auto &note : notes)
        if (note.proven)
            avoid.insert(note.node);
        else
            newest[note.node] = std::max(newest[note.node], note.until);
    std::vector<std::pair<std::int64_t, std::string>> doubted;
    const auto times = times_named(notes);
    for (const auto &[node, until] : newest)
        if (!avoid.contains(node) && times.at(node) >= 2)
            doubted.emplace_back(-until, node);
    std::sort(doubted.begin(), doubted.end());
    for (std::size_t i = 0; i < doubted.size() && i < static_cast<std::size_t>(std::max(0, most_doubted)); ++i)
        avoid.insert(doubted[i].second);
    return avoid;
}

} // namespace trainctl
