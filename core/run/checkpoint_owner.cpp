#include "run/checkpoint_owner.h"

#include "run/run_files.h"

namespace trainctl {

namespace {

// .trainctl-run, .trainctl-run.1, ...: the folder of the run that writes here; the last one counts.
std::string owner_slot(std::size_t index) {
    const std::string first = ".trainctl-run";
    return index == 0 ? first : first + "." + std::to_string(index);
}

// Two runs that take it from each other for ever are more than this apart.
constexpr int most_tries = 20;

struct LastOwner {
    std::string run_dir;      // empty: nobody
    std::size_t next_slot = 0;
};

Result<LastOwner> last_owner(Files &files, const std::string &dir) {
    LastOwner last;
    for (;;) {
        auto text = files.read(join_path(dir, owner_slot(last.next_slot)));
        if (!text)
            return text.error();
        if (!*text)
            return last;
        last.run_dir = (*text)->substr(0, (*text)->find('\n'));
        ++last.next_slot;
    }
}

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
    if (auto made = files.make_dirs(*dir); !made)
        return made;
    for (int i = 0; i < most_tries; ++i) {
        auto last = last_owner(files, *dir);
        if (!last)
            return last.error();
        if (last->run_dir == paths.dir())
            return {};
        auto writes = last->run_dir.empty() ? Result<bool>{false} : still_writes(files, last->run_dir);
        if (!writes)
            return writes.error();
        const auto other = base_name(last->run_dir);
        if (*writes)
            return Error{ErrorKind::refused, "the run " + other + " writes its checkpoints there and has not ended", *dir,
                         "`trainctl resume " + other + "` goes on with it, `trainctl cancel " + other + "` ends it; or give this one another checkpoint.dir"};
        auto ours = files.publish(join_path(*dir, owner_slot(last->next_slot)), paths.dir() + "\n");
        if (!ours || *ours)
            return ours ? Result<void>{} : Result<void>{ours.error()};
    }
    return Error{ErrorKind::timeout, "other runs take this checkpoint folder again and again", *dir, "try again"};
}

} // namespace trainctl
