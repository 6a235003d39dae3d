#include "experiment/reader.h"

#include "base/text.h"
#include "experiment/value_reader.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

class Reader {
public:
    explicit Reader(const ReadRequest &request) : request_(request), keys_(request.keys) {}

    ReadKeys run() {
        out_.at[""] = request_.start;
        if (request_.root.kind == YamlNode::Kind::map)
            section(request_.root, "");
        else if (request_.root.kind != YamlNode::Kind::null)
            add(request_.root.at, fmt::format("must be a map of keys and values, not {}", request_.root.kind_text()));
        if (request_.complete &&
            (request_.root.kind == YamlNode::Kind::map || request_.root.kind == YamlNode::Kind::null))
            missing();
        return std::move(out_);
    }

private:
    void add(const Position &at, std::string message) { out_.findings.push_back({at, valid_utf8(message)}); }

    void section(const YamlNode &node, const std::string &prefix) {
        for (const auto &entry : node.entries) {
            const std::string path = prefix + entry.key;
            const auto row =
                std::find_if(keys_.begin(), keys_.end(), [&](const KeySpec &key) { return path == key.path; });
            if (row != keys_.end()) {
                out_.at[path] = entry.key_at;
                value(entry, static_cast<std::size_t>(row - keys_.begin()));
            } else if (is_section(path)) {
                out_.at[path] = entry.key_at;
                subsection(entry, path);
            } else {
                unknown(entry, prefix);
            }
        }
    }

    bool is_section(const std::string &path) const {
        return std::any_of(keys_.begin(), keys_.end(),
                           [&](const KeySpec &key) { return starts_with(key.path, path + "."); });
    }

    void subsection(const YamlEntry &entry, const std::string &path) {
        if (entry.value.kind == YamlNode::Kind::map)
            section(entry.value, path + ".");
        else if (entry.value.kind == YamlNode::Kind::null)
            add(entry.key_at, fmt::format("'{}' is empty: give it keys ({}), or remove the line", path,
                                          join(names_in(path + "."), ", ")));
        else
            add(entry.value.at,
                fmt::format("'{}' must be a map of keys ({}), not {}{}", path, join(names_in(path + "."), ", "),
                            entry.value.kind_text(), glued_hint(entry.value, path + ".")));
    }

    // "nodes:1" is a text in YAML.
    std::string glued_hint(const YamlNode &node, const std::string &prefix) const {
        const std::string key = node.text.substr(0, node.text.find(':'));
        const auto names = names_in(prefix);
        const bool glued = key.size() < node.text.size() && std::find(names.begin(), names.end(), key) != names.end();
        return glued ? fmt::format(": write a blank after '{}:'", key) : "";
    }

    // Names of the keys and sections directly under a prefix, in the table's order.
    std::vector<std::string> names_in(const std::string &prefix) const {
        std::vector<std::string> names;
        for (const auto &key : keys_) {
            if (!starts_with(key.path, prefix))
                continue;
            const std::string rest = std::string{key.path}.substr(prefix.size());
            const std::string name = rest.substr(0, rest.find('.'));
            if (std::find(names.begin(), names.end(), name) == names.end())
                names.push_back(name);
        }
        return names;
    }

    void unknown(const YamlEntry &entry, const std::string &prefix) {
        const std::string where = prefix.empty() ? "" : fmt::format(" in '{}'", prefix.substr(0, prefix.size() - 1));
        if (entry.key == "<<") {
            add(entry.key_at, "merge keys (<<) are not supported: write the keys out");
            return;
        }
        const auto names = names_in(prefix);
        std::string help = fmt::format("allowed keys: {}", join(names, ", "));
        if (const auto near = did_you_mean(entry.key, names); !near.empty())
            help = fmt::format("did you mean '{}'?", near);
        else if (const auto elsewhere = path_of(entry.key, prefix); !elsewhere.empty())
            help = fmt::format("did you mean '{}'?", elsewhere);
        add(entry.key_at, fmt::format("unknown key '{}'{}: {}", entry.key, where, help));
    }

    // The path of a key of this last name in another section.
    std::string path_of(const std::string &name, const std::string &prefix) const {
        for (const auto &key : keys_)
            if (ends_with(key.path, "." + name) && !starts_with(key.path, prefix.empty() ? "\n" : prefix))
                return key.path;
        return "";
    }

    void missing() {
        for (const auto &key : keys_)
            if (key.required && !out_.at.count(key.path))
                add(out_.position(key.path),
                    fmt::format("missing key '{0}', for example `{0}: {1}`", key.path, key.example));
    }

    void value(const YamlEntry &entry, std::size_t row) {
        const KeySpec &key = keys_[row];
        const std::size_t before = out_.findings.size();
        if (entry.value.kind == YamlNode::Kind::null) {
            add(entry.key_at, fmt::format("'{}' has no value: give one, or remove the line", key.path));
            return;
        }
        auto value = ValueReader(key, request_.environment, out_.findings).read(entry);
        if (value && out_.findings.size() == before)
            out_.values.push_back({row, std::move(*value)});
    }

    const ReadRequest &request_;
    const std::vector<KeySpec> &keys_;
    ReadKeys out_;
};

} // namespace

ReadKeys read_keys(const ReadRequest &request) { return Reader(request).run(); }

Position ReadKeys::position(const std::string &path) const {
    for (std::string look = path;;) {
        if (const auto found = at.find(look); found != at.end())
            return found->second;
        const auto dot = look.rfind('.');
        look = dot == std::string::npos ? "" : look.substr(0, dot);
    }
}

std::string Problem::text() const {
    return line == 0 ? fmt::format("{}: {}", file, message) : fmt::format("{}:{}:{}: {}", file, line, col, message);
}

} // namespace trainctl
