// Which nodes were found bad, by any run of this root: a file for each time, <root>/nodes/<until>.<proof|doubt>.<run>-<attempt>-
// <generation>.<node>.json, whose name says what deciding needs, so that one listing is enough. Each has one writer; `until` is
// in Unix seconds of its clock. What is older has no meaning, and is removed by whoever adds the next one.
#pragma once

#include "base/files.h"
#include "base/ids.h"
#include "run/records.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace trainctl {

struct NodeNote {
    std::string node, run;
    int attempt = 0, generation = 0;
    bool proven = false;
    std::int64_t until = 0;
    std::string failure_class, why; // from the file; empty where only its name was read
    std::int64_t when = 0;
};

std::string note_file_name(const NodeNote &note);
std::optional<NodeNote> parse_note_file_name(const std::string &name);

// One that is there already stays as it is.
Result<void> remember_node(Files &files, const std::string &root, const NodeNote &note, std::int64_t now);
// Those that are not over, by node and age; names only, or with what the files say.
Result<std::vector<NodeNote>> remembered_nodes(Files &files, const std::string &root, std::int64_t now);
Result<std::vector<NodeNote>> read_remembered_nodes(Files &files, const std::string &root, std::int64_t now);
// Forgets all notes of these nodes, or of all; how many.
Result<int> forget_nodes(Files &files, const std::string &root, const std::set<std::string> &nodes);

// How often each was named; and those to avoid: on proof, or named twice, the latter at most `most_doubted`, newest first.
std::map<std::string, int> times_named(const std::vector<NodeNote> &notes);
std::set<std::string> nodes_to_avoid(const std::vector<NodeNote> &notes, int most_doubted);

} // namespace trainctl
