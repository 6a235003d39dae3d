#include "desk/desk.h"

namespace trainctl {

namespace {

constexpr const char *mark_name = ".trainctl-run"; // holds the folder of the run that writes here

// A run that has ended, or never came to be, writes no more.
Result<bool> still_writes(Files &files, const std::string &run_dir) {
    auto ended = files.read(join_path(run_dir, "ended.json"));
    if (!ended)
        return ended.error();
    auto made = files.read(join_path(run_dir, "run.json"));
    if (!made)
        return made.error();
    return made->has_value() && !ended->has_value();
}

} // namespace

Result<void> own_checkpoints(Files &files, const RunPaths &paths, const Experiment &experiment) {
    auto dir = checkpoint_dir(paths, experiment);
    if (!dir)
        return dir.error();
    if (dir->starts_with(paths.dir() + "/"))
        return {};
    const auto mark = join_path(*dir, mark_name);
    auto owner = files.read(mark);
    if (!owner)
        return owner.error();
    if (!*owner) {
        if (auto made = files.make_dirs(*dir); !made)
            return made;
        auto ours = files.publish(mark, paths.dir() + "\n");
        if (!ours || *ours)
            return ours ? Result<void>{} : Result<void>{ours.error()};
        if (owner = files.read(mark); !owner)
            return owner.error();
    }
    const auto text = owner->value_or("");
    const std::string other = text.substr(0, text.find('\n'));
    if (other == paths.dir())
        return {};
    auto writes = still_writes(files, other);
    if (!writes)
        return writes.error();
    if (!*writes)
        return files.write(mark, paths.dir() + "\n");
    return Error{ErrorKind::refused, "the run " + base_name(other) + " writes its checkpoints there and has not ended", *dir,
                 "`trainctl resume " + base_name(other) + "` goes on with it, `trainctl cancel " + base_name(other) +
                     "` ends it; or give this one another checkpoint.dir"};
}

} // namespace trainctl
