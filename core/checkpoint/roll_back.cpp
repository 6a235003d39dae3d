#include "checkpoint/roll_back.h"

#include "base/text.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr int most_names = 100; // taken ones that are passed over

Result<void> put_aside(Files &files, const std::string &path) {
    const auto slash = path.rfind('/');
    const auto names = files.list(path.substr(0, slash));
    if (!names)
        return names.error();
    for (int number = 1; number <= most_names; ++number) {
        const auto aside = path + std::string{set_aside} + (number == 1 ? "" : fmt::format(".{}", number));
        if (std::find(names->begin(), names->end(), aside.substr(slash + 1)) == names->end())
            return files.rename(path, aside);
    }
    return Error{ErrorKind::exists, "too many checkpoints were put aside under this name", path, "remove those that end in .rolled-back.<number>"};
}

} // namespace

Result<std::optional<CheckpointSeen>> roll_back(Files &files, const std::string &dir, const Checkpoint &spec, int count, const HashLimits &limits) {
    auto seen = list_checkpoints(dir, spec);
    if (!seen)
        return seen.error();
    std::erase_if(*seen, [](const CheckpointSeen &checkpoint) { return !checkpoint.complete; });
    if (seen->empty())
        return std::optional<CheckpointSeen>{};
    const std::size_t last = seen->size() - 1;
    std::size_t target = last - std::min(last, static_cast<std::size_t>(count));
    for (check_content(dir, (*seen)[target], spec, limits); !(*seen)[target].complete; check_content(dir, (*seen)[target], spec, limits)) {
        if (target == 0)
            return Error{ErrorKind::invalid, "no older checkpoint is whole", dir, ""};
        --target;
    }
    // The newest first: whoever finds half of this done finds fewer newer ones.
    for (std::size_t i = last; i > target; --i)
        if (auto moved = put_aside(files, (*seen)[i].path); !moved)
            return moved.error();
    return std::optional{(*seen)[target]};
}

} // namespace trainctl
