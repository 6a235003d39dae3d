#include "agent/preflight.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::array<std::string_view, 6> finding_names{"doing", "fine", "warning", "bad", "shared", "end"};
constexpr std::uint64_t fewest_inodes = 1000; // a run makes some hundreds of files before any checkpoint
constexpr std::uint64_t mib = 1u << 20;
constexpr std::uint64_t no_limit_mib = std::uint64_t{1} << 40; // cgroup v1 says "none" as a number near 2^63

std::string read_small(const std::string &path) {
    char buffer[256];
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    const auto n = file ? ::read(file.get(), buffer, sizeof buffer) : -1;
    return n > 0 ? std::string{trim({buffer, static_cast<std::size_t>(n)})} : "";
}

std::optional<std::uint64_t> limit_in(const std::string &path) {
    const std::string text = read_small(path);
    std::uint64_t bytes = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size() || bytes / mib >= no_limit_mib)
        return std::nullopt;
    return bytes / mib;
}

std::string mib_text(std::uint64_t amount) { return human_bytes(amount * mib); }

} // namespace

std::string to_string(const PreflightLine &line) {
    std::string text = valid_utf8(line.text); // tools may print anything
    std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
    return fmt::format("{}{}{} {}", finding_names.at(static_cast<std::size_t>(line.finding)), line.fact.empty() ? "" : ":", line.fact, text);
}

std::optional<PreflightLine> parse_preflight_line(std::string_view text) {
    const auto space = text.find(' ');
    const auto word = text.substr(0, space);
    const auto name = word.substr(0, word.find(':'));
    const auto found = std::find(finding_names.begin(), finding_names.end(), name);
    if (found == finding_names.end() || space == std::string_view::npos || (!word.empty() && word.back() == ':'))
        return std::nullopt;
    return PreflightLine{static_cast<Finding>(found - finding_names.begin()), std::string{text.substr(space + 1)},
                         std::string{name.size() < word.size() ? word.substr(name.size() + 1) : ""}};
}

std::string preflight_spec_text(const PreflightSpec &spec) {
    return dump_json(Json{{"run_dir", spec.run_dir},
                          {"checkpoint_dir", spec.checkpoint_dir},
                          {"min_free_mib", spec.min_free_mib},
                          {"job_memory_mib", spec.job_memory_mib},
                          {"chips_per_node", spec.chips_per_node},
                          {"chip", spec.chip},
                          {"head_clock_ms", spec.head_clock_ms},
                          {"chips_since_s", spec.chips_since_s}});
}

Result<PreflightSpec> preflight_spec_from(std::string_view text) {
    const auto json = parse_json(text, "the preflight's order");
    if (!json)
        return json.error();
    try {
        PreflightSpec out;
        out.run_dir = json->at("run_dir").get<std::string>();
        out.checkpoint_dir = json->at("checkpoint_dir").get<std::string>();
        out.min_free_mib = json->at("min_free_mib").get<std::uint64_t>();
        out.job_memory_mib = json->at("job_memory_mib").get<std::uint64_t>();
        out.chips_per_node = json->at("chips_per_node").get<int>();
        out.chip = json->at("chip").get<std::string>();
        out.head_clock_ms = json->at("head_clock_ms").get<std::int64_t>();
        out.chips_since_s = json->at("chips_since_s").get<double>();
        return out;
    } catch (const Json::exception &error) {
        return Error{ErrorKind::invalid, error.what(), "the preflight's order", ""};
    }
}

std::vector<PreflightLine> judge_disk(const DiskSeen &disk, std::uint64_t min_free_mib) {
    std::vector<PreflightLine> out;
    const bool full = disk.free_bytes / mib < min_free_mib;
    out.push_back({full ? Finding::shared : Finding::fine,
                   fmt::format("disk of {}: {} free at {}, {} expected (health.min_free)", disk.what, human_bytes(disk.free_bytes),
                               disk.path, mib_text(min_free_mib))});
    if (disk.inodes > 0) {
        const bool few = disk.free_inodes < fewest_inodes;
        out.push_back({few ? Finding::shared : Finding::fine, fmt::format("inodes of {}: {} of {} free at {}, {} expected", disk.what,
                                                                       disk.free_inodes, disk.inodes, disk.path, fewest_inodes)});
    }
    return out;
}

std::vector<PreflightLine> judge_memory(const MemorySeen &memory, std::uint64_t job_memory_mib) {
    std::vector<PreflightLine> out;
    // Nodes may claim more memory than there is; a job with all of a node's can't have what its daemons use, so a
    // little less than asked for is only told.
    const auto add = [&](std::uint64_t seen, std::uint64_t wanted, const std::string &what) {
        const auto finding = seen < wanted / 5 * 4 ? Finding::bad : seen < wanted ? Finding::warning : Finding::fine;
        out.push_back({finding, what + (wanted > 0 ? fmt::format(", the job has {}", mib_text(wanted)) : "")});
    };
    const std::uint64_t wanted = memory.total_mib > 0 ? std::min(job_memory_mib, memory.total_mib) : job_memory_mib;
    if (memory.available_mib > 0)
        add(memory.available_mib, wanted, fmt::format("memory: {} available of {}", mib_text(memory.available_mib), mib_text(memory.total_mib)));
    if (memory.cgroup_mib)
        add(*memory.cgroup_mib, job_memory_mib, fmt::format("memory: the cgroup allows {}", mib_text(*memory.cgroup_mib)));
    return out;
}

std::optional<std::uint64_t> cgroup_limit_mib(std::string_view own_cgroups, const std::string &root) {
    std::optional<std::uint64_t> least;
    for (const auto &line : split_lines(own_cgroups)) {
        // "0::/path" of version 2, "5:memory:/path" of version 1 (man 7 cgroups).
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos)
            continue;
        const auto controllers = split(std::string_view{line}.substr(first + 1, second - first - 1), ',');
        const bool v2 = line.substr(0, second + 1) == "0::";
        if (!v2 && std::find(controllers.begin(), controllers.end(), "memory") == controllers.end())
            continue;
        const std::string top = v2 ? root : root + "/memory", name = v2 ? "memory.max" : "memory.limit_in_bytes";
        // A limit of any folder above holds too.
        for (std::string path = line.substr(second + 1);;) {
            if (const auto limit = limit_in(top + (path == "/" ? "" : path) + "/" + name))
                least = least ? std::min(*least, *limit) : *limit;
            if (path.size() <= 1)
                break;
            path = path.find_last_of('/') == 0 ? "/" : path.substr(0, path.find_last_of('/'));
        }
    }
    return least;
}

std::vector<PreflightLine> judge_clock(std::int64_t head_ms, std::int64_t here_ms) {
    if (head_ms <= 0)
        return {};
    const std::int64_t apart = here_ms > head_ms ? here_ms - head_ms : head_ms - here_ms;
    const std::string difference = fmt::format("{} {} the head's clock", human_duration(std::chrono::milliseconds{apart}),
                                               here_ms > head_ms ? "ahead of" : "behind");
    if (apart > 300'000)
        return {{Finding::warning, fmt::format("THE CLOCK IS WRONG: {}; times in logs and of files mislead, certificates may fail", difference)}};
    if (apart > 5'000)
        return {{Finding::warning, fmt::format("clock: {}, at most 5 s expected", difference)}};
    return {{Finding::fine, "clock: " + difference}};
}

} // namespace trainctl
