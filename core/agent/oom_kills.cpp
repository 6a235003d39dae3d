#include "agent/oom_kills.h"

#include "base/fd.h"
#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t most_bytes = 1u << 20; // of mountinfo: nodes with containers have thousands of mounts

std::string read_file(const std::string &path) {
    std::string out;
    char buffer[4096];
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    for (ssize_t n = 0; file && out.size() < most_bytes && (n = ::read(file.get(), buffer, sizeof buffer)) > 0;)
        out.append(buffer, static_cast<std::size_t>(n));
    return out;
}

bool has(const std::vector<std::string> &words, std::string_view word) { return std::find(words.begin(), words.end(), word) != words.end(); }

// mountinfo writes blanks, tabs, newlines and backslashes as "\040".
std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        int byte = 0;
        const char *const digits = text.data() + i + 1;
        if (text[i] == '\\' && text.size() - i > 3 && std::from_chars(digits, digits + 3, byte, 8).ptr == digits + 3) {
            out += static_cast<char>(byte);
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

// `path` without `root` before it; nothing where it is not below.
std::optional<std::string> below(const std::string &root, const std::string &path) {
    const std::string top = root == "/" ? "" : root, all = path == "/" ? "" : path;
    if (!starts_with(all, top) || (all.size() > top.size() && all[top.size()] != '/'))
        return std::nullopt;
    return all.substr(top.size());
}

// Where version 2 gives a cgroup no count of its own, its memory is its parent's.
std::string file_of(const MemoryCgroup &group) {
    if (!group.v2)
        return group.mount + group.below + "/memory.oom_control";
    std::string at = group.below;
    const auto readable = [&](const char *name) { return ::access((group.mount + at + name).c_str(), R_OK) == 0; };
    if (readable("/memory.events"))
        return group.mount + at + "/memory.events"; // with all below it
    while (!at.empty()) {
        at.resize(at.rfind('/'));
        for (const char *const name : {"/memory.events.local", "/memory.events"}) // the first without what has its own count; Linux 5.2
            if (readable(name))
                return group.mount + at + name;
    }
    return "";
}

} // namespace

std::optional<MemoryCgroup> memory_cgroup(std::string_view cgroups, std::string_view mounts) {
    MemoryCgroup out;
    for (const auto &line : split_lines(cgroups)) {
        // "0::/path" of version 2, "5:memory:/path" of version 1, which has the controller where both are there.
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos)
            continue;
        const bool v1 = has(split(std::string_view{line}.substr(first + 1, second - first - 1), ','), "memory");
        const bool v2 = line.substr(0, second + 1) == "0::" && out.path.empty();
        if (!v1 && !v2)
            continue;
        out.path = line.substr(second + 1);
        out.v2 = !v1;
        if (v1)
            break;
    }
    if (out.path.empty() || out.path.find("/..") != std::string::npos) // outside our namespace
        return std::nullopt;
    std::size_t longest = 0;
    bool found = false;
    for (const auto &line : split_lines(mounts)) {
        // "32 31 0:29 ROOT MOUNT rw,relatime shared:7 - cgroup cgroup rw,memory"
        const auto words = split(line, ' ');
        const auto dash = std::find(words.begin(), words.end(), "-");
        if (dash - words.begin() < 6 || words.end() - dash < 4)
            continue;
        if (dash[1] != (out.v2 ? "cgroup2" : "cgroup") || (!out.v2 && !has(split(dash[3], ','), "memory")))
            continue;
        const auto root = unescaped(words[3]);
        const auto rest = below(root, out.path);
        if (!rest || (found && root.size() <= longest))
            continue;
        found = true;
        longest = root.size();
        out.mount = unescaped(words[4]);
        out.below = *rest;
    }
    return found ? std::optional{out} : std::nullopt;
}

std::optional<std::int64_t> oom_kills_in(std::string_view text) {
    for (const auto &line : split_lines(text)) {
        const auto words = split(line, ' ');
        if (words.size() != 2 || words[0] != "oom_kill")
            continue;
        std::int64_t count = 0;
        const auto [end, error] = std::from_chars(words[1].data(), words[1].data() + words[1].size(), count);
        if (error == std::errc{} && end == words[1].data() + words[1].size() && count >= 0)
            return count;
    }
    return std::nullopt;
}

bool is_of_one_job(std::string_view path) {
    const auto parts = split(path, '/');
    return std::any_of(parts.begin(), parts.end(), [](const auto &part) { return starts_with(part, "job_"); });
}

void OomWatch::add(pid_t pid) {
    const auto group = memory_cgroup(read_file(fmt::format("/proc/{}/cgroup", pid)), read_file("/proc/self/mountinfo"));
    const auto file = group ? file_of(*group) : "";
    const auto count = file.empty() ? std::nullopt : oom_kills_in(read_file(file));
    if (!count) {
        blind_ = true;
        return;
    }
    if (std::any_of(counters_.begin(), counters_.end(), [&](const Counter &known) { return known.file == file; }))
        return;
    const auto folder = file.substr(group->mount.size(), file.rfind('/') - group->mount.size());
    counters_.push_back({file, group->path.substr(0, group->path.size() - (group->below.size() - folder.size())), *count, *count});
}

void OomWatch::read(double at) {
    for (auto &counter : counters_) {
        // Slurm removes the cgroup of a step with its last process: what it said before that stays.
        const auto count = oom_kills_in(read_file(counter.file));
        if (!count || *count <= counter.now)
            continue;
        counter.now = *count;
        last_at_ = at;
    }
}

std::optional<std::int64_t> OomWatch::kills() const {
    std::int64_t sum = 0;
    for (const auto &counter : counters_)
        sum += counter.now - counter.before;
    return sum == 0 && (blind_ || counters_.empty()) ? std::nullopt : std::optional{sum};
}

bool OomWatch::of_one_job() const {
    return std::all_of(counters_.begin(), counters_.end(), [](const Counter &counter) { return counter.now == counter.before || is_of_one_job(counter.path); });
}

std::string OomWatch::where() const {
    for (const auto &counter : counters_)
        if (counter.now > counter.before)
            return counter.file;
    return "";
}

} // namespace trainctl
