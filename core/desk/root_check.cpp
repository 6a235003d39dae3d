#include "desk/root_check.h"

#include "base/hash.h"

#include <cstring>
#include <fmt/format.h>
#include <sys/vfs.h>

namespace trainctl {

namespace {

constexpr const char *hint = "the run root must be on a file system with hard links and exclusive creation that all nodes share, such as NFS, Lustre, "
                             "GPFS, BeeGFS or WekaFS: set another `root` in the cluster's profile";

Error refused(const std::string &root, const std::string &what) {
    return {ErrorKind::refused, "its file system can't keep runs: " + what, root, hint};
}

Error failed(const Error &error, const std::string &root, const std::string &what) {
    return {error.kind, fmt::format("its file system can't keep runs: {} fails: {}", what, error.message), root, error.kind == ErrorKind::no_space ? error.hint : hint};
}

// In `folder`, under names of our own: several may try at once.
struct Trial {
    Files &files;
    std::string root, folder;
    std::string a = join_path(folder, random_hex(8) + ".a"), b = join_path(folder, random_hex(8) + ".b");

    Result<void> exclusive_folder() const {
        for (const char *round : {"first", "second"}) {
            auto made = files.make_dir(folder);
            if (!made)
                return failed(made.error(), root, "mkdir()");
            if (*made && std::strcmp(round, "second") == 0)
                return refused(root, "a folder that is there can be made again");
        }
        return {};
    }
    Result<void> exclusive_link() const {
        auto first = files.publish(a, "first");
        if (!first)
            return failed(first.error(), root, "link()");
        auto second = files.publish(a, "second");
        if (!second)
            return failed(second.error(), root, "link() to a name that is there");
        auto content = files.read(a);
        if (!content)
            return failed(content.error(), root, "reading");
        if (!*first || *second || *content != "first")
            return refused(root, "a name that is there can be linked again");
        return {};
    }
    Result<void> replacing_rename() const {
        if (auto written = files.write(b, "new"); !written)
            return failed(written.error(), root, "rename()");
        if (auto moved = files.rename(b, a); !moved)
            return failed(moved.error(), root, "rename()");
        auto there = files.read(a), gone = files.read(b);
        if (!there || !gone)
            return failed(there ? gone.error() : there.error(), root, "reading");
        if (*there != "new" || *gone)
            return refused(root, "a rename does not replace what is there");
        return {};
    }
};

} // namespace

Result<void> check_root(Files &files, const std::string &root, const std::string &file_system) {
    const auto folder = join_path(root, ".checked");
    const auto mark = join_path(folder, sha256_hex(root + "\n" + file_system).substr(0, 16));
    auto known = files.read(mark);
    if (!known)
        return failed(known.error(), root, "reading");
    if (*known)
        return {};
    const Trial trial{files, root, folder};
    for (const auto step : {&Trial::exclusive_folder, &Trial::exclusive_link, &Trial::replacing_rename}) {
        const auto held = (trial.*step)();
        if (held)
            continue;
        for (const auto &left : {trial.a, trial.b})
            [[maybe_unused]] const auto gone = files.remove(left);
        return held;
    }
    if (auto removed = files.remove(trial.a); !removed)
        return failed(removed.error(), root, "unlink()");
    auto marked = files.write(mark, "exclusive folders, links and replacing renames work here\n");
    return marked ? marked : Result<void>{failed(marked.error(), root, "rename()")};
}

std::string file_system_of(const std::string &path) {
    struct statfs info {};
    if (::statfs(path.c_str(), &info) != 0)
        return "";
    int id[2] = {0, 0};
    static_assert(sizeof info.f_fsid == sizeof id);
    std::memcpy(id, &info.f_fsid, sizeof id);
    return fmt::format("{:x}:{:x}:{:x}", info.f_type, static_cast<unsigned>(id[0]), static_cast<unsigned>(id[1]));
}

} // namespace trainctl
