// The checkpoints of a schedule: what a training writes, part by part, and what is truly whole on the disk, whatever
// markers and manifests say. The state of the model is its step and a digest of all steps before.
#pragma once

#include "checkpoint/checkpoint.h"
#include "simulator/disk.h"
#include "simulator/ledger.h"

#include <optional>
#include <string>
#include <vector>

namespace trainctl::sim {

struct ModelState {
    int step = 0;
    std::uint64_t digest = 1;
    bool operator==(const ModelState &) const = default;
};
ModelState trained_on(ModelState state); // one more step
ModelState undisturbed(int step);        // of a run that nothing befell

// How the framework saves.
enum class SaveStyle {
    renamed,  // into a folder of another name, which gets its own when all is there
    manifest, // in place; a list of files and sizes comes last
    marker,   // in place; an empty file comes last
};

class Checkpoints {
public:
    Checkpoints(Disk &disk, std::string dir, SaveStyle style) : disk_(disk), dir_(std::move(dir)), style_(style) {}

    const std::string &dir() const { return dir_; }
    SaveStyle style() const { return style_; }
    Checkpoint spec() const;
    std::string path(int step) const;
    // Where a save of this set writes, until it is done.
    std::string draft(const SetKey &key, int step) const;
    static std::string shard_name(std::size_t part) { return "shard-" + std::to_string(part); }
    static std::string shard(const SetKey &key, const ModelState &state, std::size_t part, std::size_t parts);
    static bool ours(const SetKey &key, const std::string &content); // written by this set
    static std::string manifest(const SetKey &key, const ModelState &state, std::size_t parts);

    // The state, where every part is there in full and of one and the same save.
    std::optional<ModelState> whole(const std::string &path) const;

    // The real chooser's rules over what a host sees. Blocks; for actors.
    CheckpointChoice newest_complete(HostFiles &files) const;
    // Deletes old ones, as the head does.
    void remove_old(HostFiles &files, int keep, const std::string &in_use);
    // Complete at that time by the rules, with the truth of the disk.
    std::vector<int> complete_steps() const;

private:
    CheckpointFacts facts(const std::string &path) const;

    Disk &disk_;
    std::string dir_;
    SaveStyle style_;
};

} // namespace trainctl::sim
