// Reads a YAML tree by a table of keys: every value checked by its row, every problem with its position. Shared by
// experiments and cluster profiles. Pure.
#pragma once

#include "experiment/key_spec.h"
#include "experiment/yaml_tree.h"

#include <map>
#include <string>
#include <vector>

namespace trainctl {

struct ReadKey {
    std::size_t row; // in the table
    Value value;
};

struct ReadKeys {
    std::vector<ReadKey> values; // those without a problem
    std::vector<Finding> findings;
    std::map<std::string, Position> at; // where each key and section that was given stands, also those with a problem

    // Where to point for a key that may be missing: itself, its section, or the beginning.
    Position position(const std::string &path) const;
};

// `root` is the map of the table's keys; `start` is where missing keys are reported when their section is missing
// too. `complete` is false where the file ends early: then nothing is reported as missing.
struct ReadRequest {
    const YamlNode &root;
    const std::vector<KeySpec> &keys;
    const Environment &environment; // for ${NAME}
    Position start = {};
    bool complete = true;
};
ReadKeys read_keys(const ReadRequest &request);

// Reads into the struct of a table of rows.
template <class T> ReadKeys read_into(T &target, const std::vector<KeyRow<T>> &rows, const ReadRequest &request) {
    ReadKeys read = read_keys(request);
    for (const auto &one : read.values)
        store(rows[one.row].slot(target), rows[one.row].spec, one.value);
    return read;
}

// A problem as a person reads it: "file:line:col: message", or "--set key=value: message".
struct Problem {
    std::string file;
    int line = 0, col = 0; // 0: an override, not a place in a file
    std::string message;
    std::string text() const;
};

} // namespace trainctl
