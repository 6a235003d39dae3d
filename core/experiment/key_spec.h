// One key of a YAML file as data: name, type, limits, documentation, and where its value lives. Parsing,
// "did you mean", `--set`, printing and the documentation are all driven by tables of these. Pure.
#pragma once

#include "base/clock.h"
#include "experiment/placeholders.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace trainctl {

enum class KeyType {
    text,  // one line
    path,  // one line
    shell, // text that is documented to be run by bash, as it is
    integer,
    duration,    // limits in seconds
    size,        // limits in MiB
    enumeration, // one of `allowed`
    signal,      // one of `allowed`, with or without SIG
    list,        // of one-line texts
    options,     // of sbatch options; also a map of names and values
    map,         // names and texts
    command,     // a list of words, or one text split as a shell splits it
};
const char *to_string(KeyType type);

struct KeySpec {
    const char *path = ""; // dotted: "resources.nodes"
    KeyType type = KeyType::text;
    const char *otherwise = ""; // the default, as one would write it; "": none
    std::int64_t min = 0, max = 0;
    std::vector<std::string> allowed = {};
    bool required = false;
    bool secret = false; // values are never shown in messages
    unsigned placeholders = no_placeholders;
    // A further rule for the text, each item of a list, or each name of a map: what is wrong with it, or "".
    std::string (*check)(const std::string &text) = nullptr;
    const char *doc = "";
    const char *example = "";
};

// A value as it was read: text, path, shell, enumeration, signal | integer, duration (s), size (MiB) | list, options,
// command | map.
using Value = std::variant<std::string, std::int64_t, std::vector<std::string>, std::map<std::string, std::string>>;

// An enumeration in a struct: its number is the place in KeySpec::allowed.
struct EnumSlot {
    std::function<int()> get;
    std::function<void(int)> set;
};

// Where a key's value lives.
using Slot = std::variant<std::string *, int *, std::optional<int> *, std::optional<std::int64_t> *,
                          std::optional<std::uint64_t> *, std::chrono::seconds *, std::optional<std::chrono::seconds> *,
                          std::vector<std::string> *, std::map<std::string, std::string> *, EnumSlot>;

template <class E> EnumSlot enum_slot(E &place) {
    return {[&place] { return static_cast<int>(place); }, [&place](int number) { place = static_cast<E>(number); }};
}

// One row: `T` is what the file is read into.
template <class T> struct KeyRow {
    KeySpec spec;
    Slot (*slot)(T &target);
};

template <class T> std::vector<KeySpec> specs_of(const std::vector<KeyRow<T>> &rows) {
    std::vector<KeySpec> specs;
    for (const auto &row : rows)
        specs.push_back(row.spec);
    return specs;
}

// Puts a value of the key's own type into its place.
void store(const Slot &slot, const KeySpec &spec, const Value &value);
// The value there; nothing where there is none (empty texts, lists and maps; unset numbers).
std::optional<Value> load(const Slot &slot, const KeySpec &spec);
// A value as YAML on the key's line, or on further lines that are indented by `indent` spaces.
std::string yaml_value(const Value &value, const KeySpec &spec, int indent);

// Rows as a YAML file: sections and keys in the table's order, unset ones left out.
struct Line {
    const KeySpec *spec;
    Value value;
};
std::string yaml_file(const std::vector<Line> &lines, int indent = 0);

template <class T> std::vector<Line> lines_of(const std::vector<KeyRow<T>> &rows, T &target) {
    std::vector<Line> lines;
    for (const auto &row : rows)
        if (auto value = load(row.slot(target), row.spec))
            lines.push_back({&row.spec, std::move(*value)});
    return lines;
}

} // namespace trainctl
