#include "cluster/profile_text.h"

#include "base/text.h"
#include "cluster/profile_keys.h"
#include "experiment/yaml_tree.h"

#include <algorithm>
#include <fmt/format.h>
#include <tuple>

namespace trainctl {

namespace {

constexpr const char *top_key = "clusters";

const YamlEntry *clusters_of(const YamlNode &root) {
    return root.kind == YamlNode::Kind::map ? root.find(top_key) : nullptr;
}

void cross_checks(const Profile &profile, const ReadKeys &read, std::vector<Finding> &findings) {
    const auto given = [&](const char *key) { return read.at.count(key) > 0; };
    if (profile.via == Via::ssh && !given("host"))
        findings.push_back({read.position("via"), "'via: ssh' needs 'host': the login node's name"});
    for (const char *key : {"host", "ssh_config"})
        if (profile.via == Via::local && given(key) && read.findings.empty())
            findings.push_back({read.position(key), fmt::format("'{}' needs 'via: ssh'", key)});
}

Profile read_profile(const YamlEntry &entry, bool complete, std::vector<Finding> &findings) {
    static const std::vector<KeySpec> specs = specs_of(profile_keys());
    static const Environment nothing;
    Profile profile = login_node_profile();
    profile.name = entry.key;
    if (auto problem = check_profile_name(entry.key); !problem.empty())
        findings.push_back({entry.key_at, valid_utf8(problem)});
    if (entry.value.kind != YamlNode::Kind::map && entry.value.kind != YamlNode::Kind::null) {
        findings.push_back({entry.value.at, fmt::format("cluster '{}' must be a map of keys, not {}", entry.key,
                                                        entry.value.kind_text())});
        return profile;
    }
    const ReadKeys read = read_into(profile, profile_keys(), {entry.value, specs, nothing, entry.key_at, complete});
    findings.insert(findings.end(), read.findings.begin(), read.findings.end());
    cross_checks(profile, read, findings);
    return profile;
}

std::map<std::string, Profile> read_all(const YamlTree &tree, std::vector<Finding> &findings) {
    std::map<std::string, Profile> profiles;
    if (tree.root.kind == YamlNode::Kind::null)
        return profiles;
    if (tree.root.kind != YamlNode::Kind::map) {
        findings.push_back(
            {tree.root.at, fmt::format("must begin with '{}:', not with {}", top_key, tree.root.kind_text())});
        return profiles;
    }
    for (const auto &entry : tree.root.entries)
        if (entry.key != top_key)
            findings.push_back({entry.key_at, valid_utf8(fmt::format("unknown key '{}': {}", entry.key,
                                                                     did_you_mean(entry.key, {top_key}).empty()
                                                                         ? "clusters stand under 'clusters:'"
                                                                         : "did you mean 'clusters'?"))});
    const YamlEntry *list = clusters_of(tree.root);
    if (list == nullptr || list->value.kind == YamlNode::Kind::null)
        return profiles;
    if (list->value.kind != YamlNode::Kind::map) {
        findings.push_back({list->value.at, fmt::format("'{}' must be a map of names and clusters, not {}", top_key,
                                                        list->value.kind_text())});
        return profiles;
    }
    for (const auto &entry : list->value.entries)
        profiles[entry.key] = read_profile(entry, tree.complete, findings);
    return profiles;
}

Error invalid(std::string message, std::string hint = "") {
    return {ErrorKind::invalid, std::move(message), "", std::move(hint)};
}

Error problems_error(const std::vector<Problem> &problems) {
    std::vector<std::string> lines;
    for (const auto &problem : problems)
        lines.push_back(problem.text());
    return invalid(join(lines, "\n"));
}

// An empty root is the usual one, and reads back as that.
Profile with_root(Profile profile) {
    if (profile.root.empty())
        profile.root = login_node_profile().root;
    return profile;
}

std::size_t indentation(const std::string &line) {
    const auto found = line.find_first_not_of(' ');
    return found == std::string::npos ? line.size() : found;
}

// Lines [from, to) of a profile's own block, counted from 0.
struct Block {
    std::string name;
    std::size_t from = 0, to = 0;
};

// Comments and blank lines in front of the next profile belong to that one.
std::size_t block_end(const std::vector<std::string> &lines, std::size_t from, std::size_t next) {
    const std::size_t indent = indentation(lines[from]);
    while (next > from + 1) {
        const std::string_view content = trim(lines[next - 1]);
        const bool comment = !content.empty() && content[0] == '#' && indentation(lines[next - 1]) <= indent;
        if (!content.empty() && !comment)
            break;
        --next;
    }
    return next;
}

std::vector<Block> blocks_of(const YamlEntry &list, const std::vector<std::string> &lines) {
    std::vector<Block> blocks;
    const auto &entries = list.value.entries;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto from = static_cast<std::size_t>(entries[i].key_at.line - 1);
        const auto next =
            i + 1 < entries.size() ? static_cast<std::size_t>(entries[i + 1].key_at.line - 1) : lines.size();
        blocks.push_back({entries[i].key, from, block_end(lines, from, next)});
    }
    return blocks;
}

// Whether each profile begins a line of its own, below `clusters:`, with the same indentation.
bool editable(const YamlEntry &list, const std::vector<std::string> &lines) {
    int line_before = list.key_at.line;
    for (const auto &entry : list.value.entries) {
        const auto line = static_cast<std::size_t>(entry.key_at.line - 1);
        if (entry.key_at.line <= line_before || line >= lines.size() || entry.key_at.col < 2 ||
            indentation(lines[line]) != static_cast<std::size_t>(entry.key_at.col - 1) ||
            entry.key_at.col != list.value.entries[0].key_at.col)
            return false;
        line_before = entry.key_at.line;
    }
    return !list.value.entries.empty() || list.value.kind == YamlNode::Kind::null;
}

class Editor {
public:
    explicit Editor(const std::string &text) : lines_(split_lines(text)), tree_(parse_yaml(text)) {}

    // False: the text has a form that can't be changed so.
    bool load() {
        const YamlEntry *list = clusters_of(tree_.root);
        if (list == nullptr) {
            lines_.emplace_back(std::string{top_key} + ":");
            end_ = lines_.size();
            return tree_.root.kind == YamlNode::Kind::null;
        }
        if (!editable(*list, lines_))
            return false;
        blocks_ = blocks_of(*list, lines_);
        end_ = blocks_.empty() ? static_cast<std::size_t>(list->key_at.line) : blocks_.back().to;
        if (!blocks_.empty())
            indent_ = list->value.entries[0].key_at.col - 1;
        return true;
    }

    void replace(const Profile &profile) {
        const std::string text = emit_profile(profile, indent_);
        const bool known =
            std::any_of(blocks_.begin(), blocks_.end(), [&](const Block &block) { return block.name == profile.name; });
        if (known)
            changed_[profile.name] = text;
        else
            added_ += text;
    }

    void remove(const std::string &name) { changed_[name] = ""; }

    std::string text() const {
        std::string out;
        const auto copy = [&](std::size_t from, std::size_t to) {
            for (std::size_t i = from; i < to; ++i)
                out += lines_[i] + "\n";
        };
        std::size_t at = 0;
        for (const auto &block : blocks_) {
            copy(at, block.from);
            const auto change = changed_.find(block.name);
            if (change == changed_.end())
                copy(block.from, block.to);
            else
                out += change->second;
            at = block.to;
        }
        copy(at, end_);
        out += added_;
        copy(end_, lines_.size());
        return out;
    }

private:
    std::vector<std::string> lines_;
    YamlTree tree_;
    std::vector<Block> blocks_;
    std::size_t end_ = 0; // behind the last profile: where new ones go
    int indent_ = 2;
    std::map<std::string, std::string> changed_;
    std::string added_;
};

} // namespace

ParsedProfiles parse_profiles(const std::string &text, const std::string &file) {
    YamlTree tree = parse_yaml(text);
    std::vector<Finding> findings;
    ParsedProfiles parsed;
    parsed.profiles = read_all(tree, findings);
    // What stands near a syntax error or behind it may be its mere consequence.
    if (!tree.complete && !tree.findings.empty())
        std::erase_if(findings, [&](const Finding &one) { return one.at.line + 1 >= tree.findings.back().at.line; });
    findings.insert(findings.end(), tree.findings.begin(), tree.findings.end());
    std::stable_sort(findings.begin(), findings.end(), [](const Finding &a, const Finding &b) { return a.at < b.at; });
    for (const auto &finding : findings)
        parsed.problems.push_back({file, finding.at.line, finding.at.col, finding.message});
    return parsed;
}

Result<std::string> edit_profiles(const std::string &text, const std::string &file, const std::vector<Profile> &add,
                                  const std::vector<std::string> &remove) {
    const ParsedProfiles before = parse_profiles(text, file);
    if (!before.problems.empty())
        return problems_error(before.problems);
    auto wanted = before.profiles;
    for (const auto &name : remove)
        wanted.erase(name);
    for (const auto &profile : add)
        wanted[profile.name] = with_root(profile);
    if (wanted == before.profiles)
        return text;

    Editor editor(text);
    const bool good = editor.load();
    for (const auto &name : remove)
        editor.remove(name);
    for (const auto &profile : add)
        editor.replace(profile);
    std::string changed = good ? editor.text() : "";
    // What was written must say just what was wanted: an odd layout must not cost anybody a profile.
    const ParsedProfiles after = parse_profiles(changed, file);
    if (good && !after.problems.empty()) {
        Error error = problems_error(after.problems);
        error.hint = "this is what would have been written; nothing was changed";
        return error;
    }
    if (!good || after.profiles != wanted)
        return invalid(fmt::format("{}: can't be changed without touching the rest of it", file),
                       "write each cluster as a block of its own below 'clusters:', indented by two blanks");
    return changed;
}

} // namespace trainctl
