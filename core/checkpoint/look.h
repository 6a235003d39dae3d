// One checkpoint while it is looked at: its facts from the disk and the verdict on them. Internal to this room.
#pragma once

#include "checkpoint/checkpoint.h"
#include "checkpoint/verified_files.h"

#include <sys/types.h>

namespace trainctl {

class OpenFile {
public:
    explicit OpenFile(const std::string &path);
    ~OpenFile();
    OpenFile(const OpenFile &) = delete;
    OpenFile &operator=(const OpenFile &) = delete;
    bool ok() const { return fd_ >= 0; }
    std::optional<VerifiedFiles::Stamp> stamp() const;
    // Fills the buffer from `offset`; how many bytes, or -1 with errno.
    ssize_t read(char *to, std::size_t length, std::uint64_t offset) const;

private:
    int fd_;
};

// What is read at once: after each the head may beat.
constexpr std::size_t read_piece = 1u << 20;

struct Look {
    std::string path;
    CheckpointFacts facts;
    CheckpointSeen seen;
    CheckpointVerdict verdict;
    std::string stamps; // of all its files, as stat() told them
    WallTime changed{}; // when the last of them changed
    std::string base() const; // the folder that names in facts.files begin in
};

// The checkpoints of `dir` by their names, oldest first, and what lies beside them.
struct Listed {
    std::vector<NamedStep> steps;
    std::shared_ptr<const Surroundings> around;
};
Result<Listed> list_names(const std::string &dir, const Checkpoint &spec);

// By names, sizes and structure. `again`: what was found whole before and did not change since is not read again.
Look look_at(const std::string &dir, const NamedStep &named, const Checkpoint &spec, const Listed &listed,
             const HashLimits &limits, bool again);

// What the verdict's manifest promises against the content; why not, or "".
std::string read_content(const Look &look, const HashLimits &limits);

} // namespace trainctl
