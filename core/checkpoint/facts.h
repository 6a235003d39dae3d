// What is on the disk under one checkpoint's name, and a verdict on it. Values, and a way to read pieces of the files, so
// that formats are judged by pure functions and their tests need no disk.
#pragma once

#include "base/clock.h"
#include "experiment/experiment.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace trainctl {

// `length` bytes of a file from `offset`; fewer where it ends or can't be read.
using ReadAt = std::function<std::string(std::uint64_t offset, std::size_t length)>;
// The same of one of the checkpoint's files.
using ReadPiece = std::function<std::string(const std::string &name, std::uint64_t offset, std::size_t length)>;

// Of the folder that the checkpoints lie in.
struct Surroundings {
    std::vector<std::string> names;              // of everything in it, sorted
    std::map<std::string, std::string> trackers; // files such as `latest`, that say what was saved last: those that are there
    std::map<std::string, WallTime> written;     // when each tracker was written last
    std::map<std::string, std::int64_t> steps;   // of the names that are checkpoints
    bool has(const std::string &name) const;
};

struct CheckpointFacts {
    std::string name;                           // in the checkpoint folder: "step-000120"
    bool folder = true;
    std::map<std::string, std::uint64_t> files; // folder: relative path -> size; file: itself and what lies beside it
    std::string manifest_name;                  // the manifest that counts, as in `files`; empty: none
    std::string manifest;                       // its content
    bool zip = false;                           // a single file that is a zip, as torch.save writes it
    std::string structure_problem;              // without a manifest: of a file that is a zip, and cut short
    std::map<std::string, WallTime> written;    // when each file was written last, where that is known
    ReadPiece read = {};
    std::shared_ptr<const Surroundings> around = {};

    bool has(const std::string &file) const { return files.contains(file); }
    bool has_under(const std::string &beginning) const; // any file in a folder: "weights/"
    std::string tracker(const std::string &file) const; // of `around`; "" where there is none
};

// The same seen from a folder in it: "weights/". Reading still reads from the whole, which must live as long.
CheckpointFacts facts_under(const CheckpointFacts &whole, const std::string &folder);

// A line of a manifest: "<size> <name>", "<sha256> <name>" or "<sha256> <size> <name>".
struct ManifestEntry {
    std::string name;                  // relative, without ".."
    std::optional<std::uint64_t> size;
    std::string sha256;                // 64 lower-case digits, or empty
};

struct CheckpointVerdict {
    bool complete = false;
    std::string why_not;
    std::vector<ManifestEntry> to_hash = {}; // those whose content is promised too
    CheckpointFormat format = CheckpointFormat::plain; // by whose rules
    bool recognized = true; // false: nothing of the kind that was looked for, so not ours to remove either
};

} // namespace trainctl
