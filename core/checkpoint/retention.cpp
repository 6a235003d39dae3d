#include "checkpoint/retention.h"

#include "base/files.h"

#include <filesystem>
#include <system_error>

namespace trainctl {

namespace {

constexpr const char *removing_mark = ".trainctl-removing-"; // hidden: matches no checkpoint.pattern

// Beside a checkpoint that is a single file; of a folder they are inside.
std::vector<std::string> beside(const std::string &path, const Checkpoint &spec) {
    std::vector<std::string> out;
    for (const auto &suffix : {spec.marker, spec.manifest, std::string{".manifest"}, std::string{".done"}})
        if (!suffix.empty())
            out.push_back(path + suffix);
    return out;
}

Result<void> remove_all(const std::string &path) {
    std::error_code failed;
    std::filesystem::remove_all(path, failed);
    return failed ? Result<void>{errno_error(failed.value(), "cannot remove", path)} : Result<void>{};
}

} // namespace

Result<std::vector<std::string>> remove_old_checkpoints(const std::string &dir, const Checkpoint &spec,
                                                        const std::vector<std::string> &in_use, const HashLimits &limits) {
    std::vector<std::string> removed;
    if (spec.keep <= 0)
        return removed;
    auto seen = list_checkpoints(dir, spec, limits);
    if (!seen)
        return seen.error();
    int sound = 0;
    for (auto one = seen->rbegin(); one != seen->rend() && sound < spec.keep && !checkpoints_to_remove(*seen, spec.keep, in_use).empty(); ++one) {
        if (one->complete)
            check_content(dir, *one, spec, limits);
        sound += one->complete && one->removable ? 1 : 0;
    }
    PosixFiles files;
    for (const auto &path : checkpoints_to_remove(*seen, spec.keep, in_use)) {
        const auto hidden = join_path(dir, removing_mark + base_name(path));
        if (auto moved = files.rename(path, hidden); !moved)
            return moved.error();
        for (const auto &file : beside(path, spec))
            if (auto gone = files.remove(file); !gone)
                return gone.error();
        removed.push_back(path);
    }
    // Also what an earlier removal that was interrupted left.
    auto names = files.list(dir);
    if (!names)
        return names.error();
    for (const auto &name : *names)
        if (name.starts_with(removing_mark))
            if (auto gone = remove_all(join_path(dir, name)); !gone)
                return gone.error();
    return removed;
}

} // namespace trainctl
