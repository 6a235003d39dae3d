#include "checkpoint/retention.h"

#include <cctype>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::string_view removing_mark = ".trainctl-removing-"; // hidden: no checkpoint, whatever the pattern
constexpr int max_depth = 16;

// "model-7.optim" is a part of "model-7.pt", and "model-70.optim" and "tokenizer.json" are not, which others may name too.
bool is_part_of(const std::string &name, const std::string &part) {
    const auto stem = name.substr(0, name.rfind('.'));
    return part != name && part.starts_with(stem) && part.size() > stem.size() && std::isalnum(static_cast<unsigned char>(part[stem.size()])) == 0;
}

std::vector<std::string> manifests_of(const Checkpoint &spec) {
    return spec.manifest.empty() ? std::vector<std::string>{".manifest"} : std::vector<std::string>{spec.manifest, ".manifest"};
}

bool is_there(const std::string &path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0;
}
bool is_folder(const std::string &path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// One removal in `dir`, and whatever an earlier one left that died anywhere.
class Removal {
public:
    Removal(Files &files, const std::string &dir, const Checkpoint &spec) : files_(files), dir_(dir), spec_(spec) {}

    // The name goes first, and with it all that could count as a checkpoint; of a single file the marker even before, so that
    // none lies there for a later save of the same name.
    Result<void> begin(const std::string &name) {
        if (!is_folder(join_path(dir_, name)))
            if (auto gone = remove_markers(name); !gone)
                return gone;
        return files_.rename(join_path(dir_, name), hidden(name));
    }

    // What was begun: the rest beside it, and then what tells of it.
    Result<void> finish(const std::string &name) {
        if (!is_there(join_path(dir_, name)))
            if (auto gone = remove_beside(name, !is_folder(hidden(name))); !gone)
                return gone;
        return remove_tree(hidden(name), 0);
    }

    Result<void> finish_all() {
        auto names = files_.list(dir_);
        if (!names)
            return names.error();
        for (const auto &name : *names)
            if (name.starts_with(removing_mark))
                if (auto done = finish(name.substr(removing_mark.size())); !done)
                    return done;
        return {};
    }

private:
    std::string hidden(const std::string &name) const { return join_path(dir_, std::string{removing_mark} + name); }

    Result<void> remove_markers(const std::string &name) {
        for (const auto &suffix : {spec_.marker, std::string{".done"}})
            if (const auto path = join_path(dir_, name + suffix); !suffix.empty() && is_there(path))
                if (auto gone = files_.remove(path); !gone)
                    return gone;
        return {};
    }

    // Its manifest goes last: it tells what else there is.
    Result<void> remove_beside(const std::string &name, bool single) {
        if (single)
            if (auto gone = remove_markers(name); !gone)
                return gone;
        for (const auto &suffix : single ? manifests_of(spec_) : std::vector<std::string>{}) {
            const auto path = join_path(dir_, name + suffix);
            const auto content = files_.read(path);
            if (!content)
                return content.error();
            const auto entries = *content ? parse_manifest(**content) : Result<std::vector<ManifestEntry>>{std::vector<ManifestEntry>{}};
            for (const auto &entry : entries ? *entries : std::vector<ManifestEntry>{})
                if (is_part_of(name, entry.name))
                    if (auto gone = files_.remove(join_path(dir_, entry.name)); !gone)
                        return gone;
            if (*content)
                if (auto gone = files_.remove(path); !gone)
                    return gone;
        }
        const auto mark = join_path(dir_, name + "-unfinished"); // NeMo's
        return is_there(mark) ? files_.remove(mark) : Result<void>{};
    }

    Result<void> remove_tree(const std::string &path, int depth) {
        if (!is_folder(path))
            return files_.remove(path);
        if (depth > max_depth)
            return Error{ErrorKind::invalid, "its folders are nested too deep", path, ""};
        const auto names = files_.list(path);
        if (!names)
            return names.error();
        for (const auto &name : *names)
            if (auto gone = remove_tree(join_path(path, name), depth + 1); !gone)
                return gone;
        return ::rmdir(path.c_str()) == 0 || errno == ENOENT ? Result<void>{} : Result<void>{errno_error(errno, "cannot remove", path)};
    }

    Files &files_;
    const std::string &dir_;
    const Checkpoint &spec_;
};

} // namespace

Result<std::vector<std::string>> remove_old_checkpoints(Files &files, const std::string &dir, const Checkpoint &spec,
                                                        const std::vector<std::string> &in_use, const HashLimits &limits) {
    std::vector<std::string> removed;
    if (spec.keep <= 0)
        return removed;
    Removal removal{files, dir, spec};
    if (auto done = removal.finish_all(); !done)
        return done.error();
    auto seen = list_checkpoints(dir, spec, limits);
    if (!seen)
        return seen.error();
    int sound = 0;
    for (auto one = seen->rbegin(); one != seen->rend() && sound < spec.keep && !checkpoints_to_remove(*seen, spec.keep, in_use).empty(); ++one) {
        if (one->complete)
            check_content(dir, *one, spec, limits);
        sound += one->complete && one->removable ? 1 : 0;
    }
    for (const auto &path : checkpoints_to_remove(*seen, spec.keep, in_use)) {
        const auto name = base_name(path);
        if (auto begun = removal.begin(name); !begun)
            return begun.error();
        if (auto done = removal.finish(name); !done)
            return done.error();
        removed.push_back(path);
    }
    return removed;
}

} // namespace trainctl
