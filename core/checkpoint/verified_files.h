// The hashes of files that were read before, and the checkpoints that were found whole, each good for as long as the file system says that the file is the same one,
// unchanged: device, inode, size, and the times of its last write and of its last change. ctime can't be set by hand, so what
// was cut, written over, replaced or touched since is read again. What no time tells, a medium that loses bits, is not seen.
// Safe for several threads.
#pragma once

#include "base/clock.h"
#include "experiment/experiment.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <sys/stat.h>

namespace trainctl {

class VerifiedFiles {
public:
    struct Stamp {
        std::uint64_t device = 0, inode = 0, size = 0;
        std::int64_t written_ns = 0, changed_ns = 0;
        bool operator==(const Stamp &) const = default;
    };
    static Stamp stamp(const struct stat &seen);

    // Of the file that this stamp was just read from, by an open descriptor (NFS asks the server anew at open()).
    std::optional<std::string> hash_of(const std::string &path, const Stamp &now) const;
    // `hash` is the content's, read from `began` on between two equal stamps. A file that changed a moment before that
    // may change again without another time to show for it: it is not kept.
    void keep(const std::string &path, const Stamp &stamp, const std::string &hash, WallTime began);

    // A whole checkpoint without a manifest: its format, where the stamps of all its files are these.
    struct Whole {
        std::string stamps; // a hash of them
        CheckpointFormat format = CheckpointFormat::plain;
    };
    std::optional<CheckpointFormat> format_of(const std::string &path, const std::string &stamps) const;
    // `changed`: when the last of its files changed. As above.
    void keep_whole(const std::string &path, const Whole &whole, WallTime changed, WallTime began);

private:
    struct Known {
        Stamp stamp;
        std::string hash;
    };
    mutable std::mutex mutex_;
    std::map<std::string, Known> files_;
    std::map<std::string, Whole> whole_;
};

} // namespace trainctl
