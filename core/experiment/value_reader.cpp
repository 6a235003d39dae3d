#include "experiment/value_reader.h"

#include "base/text.h"
#include "experiment/values.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

std::optional<Value> ValueReader::read(const YamlEntry &entry) {
    key_at_ = entry.key_at;
    switch (key_.type) {
    case KeyType::text:
    case KeyType::path:
    case KeyType::shell: return text(entry.value);
    case KeyType::integer:
    case KeyType::duration:
    case KeyType::size: return number(entry.value);
    case KeyType::enumeration:
    case KeyType::signal: return choice(entry.value);
    case KeyType::list:
    case KeyType::options: return list(entry.value);
    case KeyType::map: return map(entry.value);
    case KeyType::command: return command(entry.value);
    }
    INVARIANT(false);
}

void ValueReader::add(const Position &at, std::string message) { findings_.push_back({at, valid_utf8(message)}); }

bool ValueReader::lines_allowed() const {
    return key_.type == KeyType::shell || key_.type == KeyType::command || key_.type == KeyType::map;
}

// Arguments and variables can hold everything but NUL; what goes to Slurm or names a file is one line.
std::string ValueReader::bad_characters(const std::string &text) const {
    for (const char c : text) {
        if (c == '\0')
            return "a NUL character";
        if (!lines_allowed() && c == '\n')
            return "a line break";
        if (!lines_allowed() && ((c > 0 && c < ' ' && c != '\t') || c == 0x7f))
            return "a control character";
    }
    return valid_utf8(text) == text ? "" : "bytes that are not valid UTF-8";
}

bool ValueReader::is_scalar(const YamlNode &node, const std::string &wanted) {
    if (node.kind == YamlNode::Kind::scalar)
        return true;
    add(node.at, fmt::format("'{}' must be {}, not {}", key_.path, wanted, node.kind_text()));
    return false;
}

// Text as it was written; what other YAML readers would turn into something else must be in quotes.
std::optional<std::string> ValueReader::plain_text(const YamlNode &node, const std::string &what) {
    if (node.plain && is_yaml_boolean(node.text)) {
        add(node.at,
            fmt::format("{0} is {1}, which YAML reads as true or false: write \"{1}\" for the text", what, node.text));
        return std::nullopt;
    }
    if (node.plain && is_odd_yaml_number(node.text)) {
        add(node.at, fmt::format("{0} is {1}, which YAML readers turn into another number: write \"{1}\" for the "
                                 "text",
                                 what, node.text));
        return std::nullopt;
    }
    if (const auto bad = bad_characters(node.text); !bad.empty()) {
        add(node.at, fmt::format("{} can't have {} in it", what, bad));
        return std::nullopt;
    }
    return node.text;
}

std::optional<std::string> ValueReader::resolved(const Position &at, const std::string &text, const std::string &what) {
    if (key_.placeholders == no_placeholders)
        return text;
    auto done = resolve_text(text, key_.placeholders, environment_);
    for (const auto &problem : done.problems)
        add(at, fmt::format("{}: {}", what, problem));
    if (!done.problems.empty())
        return std::nullopt;
    if (const auto bad = bad_characters(done.text); !bad.empty())
        add(at, fmt::format("{}: the value of a variable has {} in it", what, bad));
    else
        return done.text;
    return std::nullopt;
}

bool ValueReader::passes(const Position &at, const std::string &text, const std::string &what) {
    const std::string problem = text.empty()            ? "is empty: give a value, or remove it"
                                : key_.check != nullptr ? key_.check(text)
                                                        : "";
    if (!problem.empty())
        add(at, fmt::format("{} {}", what, problem));
    return problem.empty();
}

std::optional<Value> ValueReader::text(const YamlNode &node) {
    const std::string what = fmt::format("'{}'", key_.path);
    if (!is_scalar(node, "a text"))
        return std::nullopt;
    auto text = plain_text(node, what);
    if (text)
        text = resolved(node.at, *text, what);
    if (!text || !passes(node.at, *text, what))
        return std::nullopt;
    return Value{std::move(*text)};
}

std::string ValueReader::limit_text(std::int64_t limit) const {
    if (key_.type == KeyType::duration)
        return duration_text(std::chrono::seconds{limit});
    return key_.type == KeyType::size ? size_text(static_cast<std::uint64_t>(limit)) : std::to_string(limit);
}

Result<std::int64_t> ValueReader::parse_number(const YamlNode &node) const {
    if (key_.type == KeyType::duration) {
        auto parsed = parse_duration(node.text);
        return parsed ? Result<std::int64_t>{std::int64_t{parsed->count()}} : parsed.error();
    }
    if (key_.type == KeyType::size) {
        auto parsed = parse_size_mib(node.text);
        return parsed ? Result<std::int64_t>{static_cast<std::int64_t>(*parsed)} : parsed.error();
    }
    auto parsed = parse_integer(node.text);
    if (parsed && !node.plain)
        return Error{ErrorKind::invalid,
                     fmt::format("must be a number, not a text: write {} without quotes", node.text), "", ""};
    return parsed;
}

std::optional<Value> ValueReader::number(const YamlNode &node) {
    const std::string wanted = key_.type == KeyType::integer ? "a whole number"
                               : key_.type == KeyType::size  ? "a size such as 64G"
                                                             : "a duration such as 90s or 24h";
    if (!is_scalar(node, wanted))
        return std::nullopt;
    const auto parsed = parse_number(node);
    if (!parsed) {
        add(node.at, fmt::format("'{}' {}", key_.path, parsed.error().message));
        return std::nullopt;
    }
    if (*parsed < key_.min || *parsed > key_.max) {
        add(node.at, fmt::format("'{}' must be from {} to {}, not {}", key_.path, limit_text(key_.min),
                                 limit_text(key_.max), node.text));
        return std::nullopt;
    }
    return Value{*parsed};
}

std::optional<Value> ValueReader::choice(const YamlNode &node) {
    if (!is_scalar(node, "one of " + join(key_.allowed, ", ")))
        return std::nullopt;
    std::string text = node.text;
    if (key_.type == KeyType::signal && starts_with(text, "SIG"))
        text = text.substr(3);
    if (std::find(key_.allowed.begin(), key_.allowed.end(), text) != key_.allowed.end())
        return Value{std::move(text)};
    const auto near = did_you_mean(text, key_.allowed);
    add(node.at, fmt::format("'{}' must be one of {}, not '{}'{}", key_.path, join(key_.allowed, ", "), node.text,
                             near.empty() ? "" : fmt::format(": did you mean '{}'?", near)));
    return std::nullopt;
}

// One item of a list. Secrets' values must not be shown, so items are named by their place.
std::optional<std::string> ValueReader::item(const YamlNode &node, std::size_t place) {
    const std::string what = fmt::format("'{}[{}]'", key_.path, place);
    if (node.kind != YamlNode::Kind::scalar) {
        add(node.kind == YamlNode::Kind::null ? key_at_ : node.at,
            fmt::format("{} must be a text, not {}", what, node.kind_text()));
        return std::nullopt;
    }
    return plain_text(node, what);
}

std::optional<Value> ValueReader::list(const YamlNode &node) {
    if (key_.type == KeyType::options && node.kind == YamlNode::Kind::map)
        return options(node);
    if (node.kind != YamlNode::Kind::list) {
        add(node.at, fmt::format("'{}' must be a list, not {}: write [{}]", key_.path, node.kind_text(),
                                 node.kind == YamlNode::Kind::scalar && !key_.secret ? node.text : "a, b"));
        return std::nullopt;
    }
    std::vector<std::string> items;
    for (std::size_t i = 0; i < node.items.size(); ++i) {
        const std::string what = fmt::format("'{}[{}]'", key_.path, i + 1);
        auto text = item(node.items[i], i + 1);
        if (text)
            text = resolved(node.items[i].at, *text, what);
        if (text && passes(node.items[i].at, *text, what))
            items.push_back(std::move(*text));
    }
    return Value{std::move(items)};
}

std::optional<Value> ValueReader::options(const YamlNode &node) {
    std::vector<std::string> items;
    for (const auto &entry : node.entries) {
        const std::string what = fmt::format("'{}.{}'", key_.path, entry.key);
        std::string option = "--" + entry.key;
        if (entry.value.kind == YamlNode::Kind::scalar && !(entry.value.plain && entry.value.text == "true")) {
            const auto text = plain_text(entry.value, what);
            const auto final_text = text ? resolved(entry.value.at, *text, what) : std::nullopt;
            if (!final_text)
                continue;
            option += "=" + *final_text;
        } else if (entry.value.kind == YamlNode::Kind::list || entry.value.kind == YamlNode::Kind::map) {
            add(entry.value.at, fmt::format("{} must be a text, not {}", what, entry.value.kind_text()));
            continue;
        }
        if (passes(entry.key_at, option, what))
            items.push_back(std::move(option));
    }
    return Value{std::move(items)};
}

std::optional<Value> ValueReader::map(const YamlNode &node) {
    if (node.kind != YamlNode::Kind::map) {
        add(node.at, fmt::format("'{}' must be a map of names and texts, not {}", key_.path, node.kind_text()));
        return std::nullopt;
    }
    std::map<std::string, std::string> entries;
    for (const auto &entry : node.entries) {
        const std::string what = fmt::format("'{}.{}'", key_.path, entry.key);
        if (const std::string problem = key_.check(entry.key); !problem.empty()) {
            add(entry.key_at, fmt::format("'{}': {}", key_.path, problem));
            continue;
        }
        if (entry.value.kind != YamlNode::Kind::scalar) {
            const bool null = entry.value.kind == YamlNode::Kind::null;
            add(null ? entry.key_at : entry.value.at,
                null ? fmt::format("{} has no value: write \"\" for an empty text", what)
                     : fmt::format("{} must be a text, not {}", what, entry.value.kind_text()));
            continue;
        }
        auto text = plain_text(entry.value, what);
        if (text)
            text = resolved(entry.value.at, *text, what);
        if (text)
            entries[entry.key] = std::move(*text);
    }
    return Value{std::move(entries)};
}

std::optional<Value> ValueReader::command(const YamlNode &node) {
    std::vector<std::string> words;
    const std::string what = fmt::format("'{}'", key_.path);
    if (node.kind == YamlNode::Kind::list) {
        for (std::size_t i = 0; i < node.items.size(); ++i)
            if (auto word = item(node.items[i], i + 1))
                if (auto text = resolved(node.items[i].at, *word, fmt::format("'{}[{}]'", key_.path, i + 1)))
                    words.push_back(std::move(*text));
    } else if (is_scalar(node, "a list of words or a text")) {
        const auto text = plain_text(node, what);
        if (!text)
            return std::nullopt;
        auto split = split_words(*text);
        if (!split) {
            add(node.at, fmt::format("{} {}", what, split.error().message));
            return std::nullopt;
        }
        for (const auto &word : *split)
            if (auto final_text = resolved(node.at, word, what))
                words.push_back(std::move(*final_text));
    } else {
        return std::nullopt;
    }
    const bool items_given = node.kind == YamlNode::Kind::list && !node.items.empty();
    if ((words.empty() && !items_given) || (key_.required && !words.empty() && words[0].empty()))
        add(node.at, fmt::format("{} is empty: give a program, or remove it", what));
    return Value{std::move(words)};
}

} // namespace trainctl
