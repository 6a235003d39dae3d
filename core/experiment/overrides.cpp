#include "experiment/overrides.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::size_t max_override_parts = 8; // the longest path has three

// An override has no lines of its own: its number says it all.
void set_source(YamlNode &node, const Position &at) {
    node.at = at;
    for (auto &item : node.items)
        set_source(item, at);
    for (auto &entry : node.entries) {
        entry.key_at = at;
        set_source(entry.value, at);
    }
}

void make_map(YamlNode &node, const Position &at) {
    if (node.kind == YamlNode::Kind::map)
        return;
    node = YamlNode{};
    node.kind = YamlNode::Kind::map;
    node.at = at;
}

void put(YamlNode &root, const std::vector<std::string> &path, YamlNode value) {
    const Position at = value.at;
    YamlNode *node = &root;
    for (std::size_t i = 0; i < path.size(); ++i) {
        make_map(*node, at);
        auto found = std::find_if(node->entries.begin(), node->entries.end(),
                                  [&](const YamlEntry &entry) { return entry.key == path[i]; });
        const bool last = i + 1 == path.size();
        if (last && value.kind == YamlNode::Kind::null) {
            if (found != node->entries.end())
                node->entries.erase(found);
            return;
        }
        if (found == node->entries.end())
            found = node->entries.insert(found, YamlEntry{path[i], at, {}});
        if (last)
            found->key_at = at;
        node = &found->value;
    }
    *node = std::move(value);
}

} // namespace

void apply_overrides(YamlNode &root, const std::vector<std::string> &overrides, std::vector<Finding> &findings) {
    for (std::size_t i = 0; i < overrides.size(); ++i) {
        const std::string &text = overrides[i];
        const Position at{1, 1, static_cast<int>(i) + 1};
        const auto equals = text.find('=');
        const auto path = split(std::string_view{text}.substr(0, equals), '.');
        const bool bad_path = std::any_of(path.begin(), path.end(), [](const std::string &part) {
            return part.empty() || part.find_first_of(" \t\n") != std::string::npos;
        });
        if (equals == std::string::npos || bad_path || path.size() > max_override_parts) {
            findings.push_back({at, "must be key.path=value, such as resources.nodes=4"});
            continue;
        }
        YamlTree tree = parse_yaml(text.substr(equals + 1));
        for (const auto &finding : tree.findings)
            findings.push_back({at, finding.message});
        set_source(tree.root, at);
        if (tree.findings.empty())
            put(root, path, std::move(tree.root));
    }
}

} // namespace trainctl
