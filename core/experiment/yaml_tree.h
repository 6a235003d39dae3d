// YAML text as a tree that keeps what yaml-cpp's own nodes lose: positions, quotes, duplicate keys. Bounded in
// size and depth; anchors, aliases, tags and several documents are refused. Pure; never throws.
#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// Of one file: a person's has some kB. Bounds the parser's work.
inline constexpr std::size_t max_yaml_bytes = 256u << 10;

// 1-based; columns count bytes. `source` is 0 for the file, n for the n-th `--set`.
struct Position {
    int line = 1, col = 1, source = 0;
    auto operator<=>(const Position &) const = default;
};

struct Finding {
    Position at;
    std::string message;
};

struct YamlEntry;

struct YamlNode {
    enum class Kind { null, scalar, list, map };
    Kind kind = Kind::null;
    bool plain = true; // a scalar without quotes, and not a block
    std::string text;  // of a scalar, as written; escapes are resolved, nothing else is
    Position at;
    std::vector<YamlNode> items;    // of a list
    std::vector<YamlEntry> entries; // of a map, in the order of the file; keys are unique

    const YamlEntry *find(std::string_view key) const;
    // "a text", "a list", "a map", "nothing": for messages.
    const char *kind_text() const;
};

struct YamlEntry {
    std::string key;
    Position key_at;
    YamlNode value;
};

struct YamlTree {
    YamlNode root;
    std::vector<Finding> findings;
    bool complete = true; // false: a syntax error cut it short; what stands before it is in `root`
};

YamlTree parse_yaml(std::string_view text);

// A scalar that parse_yaml reads back as this text, never as anything else: plain where that is safe, else in
// double quotes on one line. The text must be valid UTF-8 without NUL.
std::string yaml_scalar(std::string_view text);

// "no", "Yes", "off": words that YAML 1.1 takes for true or false.
bool is_yaml_boolean(std::string_view text);
// "0777", "0o17", "0x1F", "1_000": digits that YAML readers turn into another number.
bool is_odd_yaml_number(std::string_view text);

} // namespace trainctl
