#include "checkpoint/checkpoint.h"
#include "checkpoint/format.h"
#include "desk/desk.h"

#include <algorithm>

namespace trainctl {

namespace {

// Each of them costs a stat of all its files, on file systems that many share.
constexpr std::int64_t most_shown = 10'000;

Json checkpoint_json(const CheckpointSeen &seen, std::int64_t now) {
    const auto modified = unix_seconds(seen.modified);
    Json out{{"name", base_name(seen.path)}, {"path", seen.path}, {"step", nullptr}, {"format", seen.format}, {"bytes", seen.bytes}, {"modified", modified},
             {"age_s", std::max<std::int64_t>(0, now - modified)}, {"complete", seen.complete}, {"why_not", nullptr}};
    if (seen.step != unknown_step)
        out["step"] = seen.step;
    if (!seen.complete)
        out["why_not"] = seen.why_not;
    return out;
}

} // namespace

// The newest first. Nothing is changed, and of files' contents only what formats need is read.
Result<Json> desk_checkpoints(DeskCall &call) {
    auto paths = run_of(call);
    if (!paths)
        return paths.error();
    auto run = load_run(call.files, *paths);
    if (!run)
        return run.error();
    auto dir = checkpoint_dir(*paths, run->experiment);
    if (!dir)
        return dir.error();
    const auto &spec = run->experiment.checkpoint;
    const auto most = std::clamp<std::int64_t>(call.request.value("most", std::int64_t{100}), 1, most_shown);
    HashLimits limits;
    limits.most = static_cast<std::size_t>(most) + 1; // to know whether there are more
    auto seen = list_checkpoints(*dir, spec, limits);
    if (!seen)
        return seen.error();
    const bool more = seen->size() > static_cast<std::size_t>(most);
    std::reverse(seen->begin(), seen->end());
    if (more)
        seen->pop_back();
    const auto now = unix_seconds(call.clock.wall());
    Json out{{"format", 1}, {"run", paths->run.value}, {"dir", *dir}, {"checkpoint_format", format_name(spec.format)}, {"names", patterns_of(spec)},
             {"now", now}, {"newest_complete", nullptr}, {"older_not_shown", more}, {"checkpoints", Json::array()}, {"put_aside", Json::array()}};
    const auto names = call.files.list(*dir);
    for (const auto &name : names ? *names : std::vector<std::string>{})
        if (is_put_aside(name))
            out["put_aside"].push_back(name);
    for (const auto &one : *seen) {
        if (one.complete && out["newest_complete"].is_null())
            out["newest_complete"] = one.path;
        out["checkpoints"].push_back(checkpoint_json(one, now));
    }
    return out;
}

} // namespace trainctl
