#include "cli_paths.h"
#include "run_cache.h"

#include "base/files.h"
#include "base/json.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

namespace trainctl {

namespace {

std::string runs_folder() { return join_path(state_folder(), "runs"); }
std::string submit_path(const std::string &key) { return join_path(state_folder(), "submitting/" + key); }

Result<void> write_in_new_folder(const std::string &path, const std::string &content) {
    PosixFiles files;
    if (auto made = files.make_dirs(parent_path(path)); !made)
        return made;
    return files.write(path, content);
}

// Names sort by time: newest_run() needs no clock of the file system.
std::string stamp() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return fmt::format("{:020}", std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

std::optional<std::string> read(const std::string &path) {
    auto content = PosixFiles{}.read(path);
    return content ? *content : std::nullopt;
}

} // namespace

Result<void> remember_run(const CachedRun &run) {
    const Json record{{"format", 1}, {"run", run.run}, {"cluster", run.cluster}, {"submitted", stamp()}};
    return write_in_new_folder(join_path(runs_folder(), run.run + ".json"), dump_json(record) + "\n");
}

std::optional<CachedRun> cached_run(const std::string &run) {
    const auto content = read(join_path(runs_folder(), run + ".json"));
    if (!content)
        return std::nullopt;
    const auto json = parse_json(*content, run);
    if (!json || !json->is_object())
        return std::nullopt;
    return CachedRun{json->value("run", run), json->value("cluster", "")};
}

std::optional<std::string> newest_run() {
    std::optional<std::string> newest;
    std::string newest_stamp;
    auto names = PosixFiles{}.list(runs_folder());
    if (!names)
        return std::nullopt;
    for (const auto &name : *names) {
        const auto content = read(join_path(runs_folder(), name));
        const auto json = content ? parse_json(*content, name) : Result<Json>{Error{}};
        if (!json || !json->is_object())
            continue;
        if (auto at = json->value("submitted", ""); at > newest_stamp) {
            newest_stamp = at;
            newest = json->value("run", "");
        }
    }
    return newest;
}

std::optional<std::string> pending_submit(const std::string &key) { return read(submit_path(key)); }

Result<void> remember_submit(const std::string &key, const std::string &run) {
    return write_in_new_folder(submit_path(key), run);
}

void forget_submit(const std::string &key) {
    if (auto removed = PosixFiles{}.remove(submit_path(key)); !removed)
        fmt::print(stderr, "trainctl: warning: {}\n", removed.error().text());
}

} // namespace trainctl
