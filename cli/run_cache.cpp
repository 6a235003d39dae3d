#include "cli_paths.h"
#include "note.h"
#include "run_cache.h"

#include "base/files.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/text.h"

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

std::optional<CachedRun> read_run(const std::string &name) {
    const auto content = read(join_path(runs_folder(), name));
    const auto json = content ? parse_json(*content, name) : Result<Json>{Error{}};
    if (!json || !json->is_object())
        return std::nullopt;
    return CachedRun{json->value("run", ""), json->value("cluster", ""), json->value("answered", true), json->value("submitted", "")};
}

} // namespace

Result<void> remember_run(const CachedRun &run) {
    const Json record{{"format", 1}, {"run", run.run}, {"cluster", run.cluster}, {"answered", run.answered},
                      {"submitted", run.submitted.empty() ? stamp() : run.submitted}};
    return write_in_new_folder(join_path(runs_folder(), run.run + ".json"), dump_json(record) + "\n");
}

Result<std::optional<CachedRun>> cached_run(const std::string &wanted) {
    if (auto exact = read_run(wanted + ".json"))
        return exact;
    std::vector<std::string> meant;
    const auto names = PosixFiles{}.list(runs_folder());
    for (const auto &name : names ? *names : std::vector<std::string>{})
        if (!wanted.empty() && starts_with(name, wanted) && ends_with(name, ".json"))
            meant.push_back(name.substr(0, name.size() - 5));
    if (meant.empty())
        return std::optional<CachedRun>{};
    if (meant.size() == 1)
        return read_run(meant.front() + ".json");
    std::sort(meant.begin(), meant.end());
    return Error{ErrorKind::invalid, fmt::format("{} runs begin with '{}': {}", meant.size(), wanted, join(meant, ", ")), "", "write more of the id"};
}

std::optional<std::string> newest_run() {
    std::optional<CachedRun> newest;
    const auto names = PosixFiles{}.list(runs_folder());
    for (const auto &name : names ? *names : std::vector<std::string>{})
        if (auto run = read_run(name); run && run->answered && (!newest || run->submitted > newest->submitted))
            newest = std::move(run);
    return newest ? std::optional{newest->run} : std::nullopt;
}

void saw_run(const std::string &run) {
    if (auto known = read_run(run + ".json"); known && !known->answered) {
        known->answered = true;
        if (auto remembered = remember_run(*known); !remembered)
            note("trainctl: warning: {}\n", remembered.error().text());
    }
    const auto keys = PosixFiles{}.list(join_path(state_folder(), "submitting"));
    for (const auto &key : keys ? *keys : std::vector<std::string>{})
        forget_submit(key, run);
}

std::optional<std::string> pending_submit(const std::string &key) { return read(submit_path(key)); }

Result<std::string> remember_submit(const std::string &key, const std::string &run) {
    PosixFiles files;
    const auto path = submit_path(key);
    if (auto made = files.make_dirs(parent_path(path)); !made)
        return made.error();
    auto ours = files.publish(path, run);
    if (!ours)
        return ours.error();
    if (const auto other = *ours ? std::nullopt : pending_submit(key); other && valid_run_id(*other))
        return *other;
    if (!*ours) // its submit is over by now, or it can't be read
        if (auto written = files.write(path, run); !written)
            return written.error();
    return run;
}

void forget_submit(const std::string &key, const std::string &run) {
    if (pending_submit(key) != run)
        return;
    if (auto removed = PosixFiles{}.remove(submit_path(key)); !removed)
        note("trainctl: warning: {}\n", removed.error().text());
}

} // namespace trainctl
