// The process of the preflight: looks, and says what it looks at before it does.
#include "agent/preflight.h"
#include "agent/preflight_chips.h"
#include "agent/spawn.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/files.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// Together less than what NodePreflight allows, so that a hanging tool is told by name.
struct Limits {
    Duration chips, second, kernel;
};
constexpr Limits preflight_limits{6s, 1s, 1s}, quick_limits{1200ms, 400ms, 300ms}; // the second: while a training stands still
constexpr std::size_t most_output = 4u << 20;
constexpr std::uint64_t little_shm = 16u << 20, scarce_shm = 1u << 30; // NCCL and data loaders live in it

void say(const PreflightLine &line) {
    std::fputs((to_string(line) + "\n").c_str(), stdout);
    std::fflush(stdout);
}

void say(const std::vector<PreflightLine> &lines) {
    for (const auto &line : lines)
        say(line);
}

std::string read_proc(const char *path) {
    std::string out;
    char buffer[4096];
    const Fd file{::open(path, O_RDONLY | O_CLOEXEC)};
    for (ssize_t n = 0; file && out.size() < most_output && (n = ::read(file.get(), buffer, sizeof buffer)) > 0;)
        out.append(buffer, static_cast<std::size_t>(n));
    return out;
}

// "MemAvailable:   123 kB" in MiB.
std::uint64_t meminfo(std::string_view text, std::string_view name) {
    for (const auto &line : split_lines(text)) {
        if (!starts_with(line, name))
            continue;
        const auto rest = trim(std::string_view{line}.substr(name.size()));
        std::uint64_t kib = 0;
        std::from_chars(rest.data(), rest.data() + rest.size(), kib);
        return kib / 1024;
    }
    return 0;
}

void look_at_memory(const PreflightSpec &spec) {
    say({Finding::doing, "memory"});
    const std::string text = read_proc("/proc/meminfo");
    say(judge_memory({meminfo(text, "MemAvailable:"), meminfo(text, "MemTotal:"), cgroup_limit_mib(read_proc("/proc/self/cgroup"), "/sys/fs/cgroup")},
                     spec.job_memory_mib));
    struct statvfs shm{};
    if (::statvfs("/dev/shm", &shm) != 0)
        return say({Finding::warning, "/dev/shm: not there"});
    const std::uint64_t free = shm.f_bavail * shm.f_frsize;
    say({free < little_shm ? Finding::bad : free < scarce_shm ? Finding::warning : Finding::fine,
         fmt::format("/dev/shm: {} free of {}, {} expected", human_bytes(free), human_bytes(shm.f_blocks * shm.f_frsize), human_bytes(scarce_shm))});
}

// Empty where a small file can be made, synced and removed in `folder`; else why not.
std::string write_problem(const std::string &folder) {
    char host[256] = "";
    ::gethostname(host, sizeof host - 1);
    const std::string path = join_path(folder, fmt::format(".trainctl-preflight-{}-{}", host, ::getpid()));
    Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (!file)
        return errno_error(errno, "cannot make a file", folder).message;
    const std::array<char, 4096> page{};
    std::string problem;
    errno = 0;
    if (::write(file.get(), page.data(), page.size()) != static_cast<ssize_t>(page.size()))
        problem = errno_error(errno, "cannot write a file", folder).message;
    else if (::fsync(file.get()) != 0)
        problem = errno_error(errno, "cannot sync a file", folder).message;
    file.close();
    if (::unlink(path.c_str()) != 0 && problem.empty())
        problem = errno_error(errno, "cannot remove a file", folder).message;
    return problem;
}

void look_at_disk(const std::string &what, const std::string &wanted, std::uint64_t min_free_mib) {
    say({Finding::doing, fmt::format("disk of {} at {}", what, wanted)});
    std::string path = wanted;
    struct stat info{};
    while (::stat(path.c_str(), &info) != 0) {
        if (errno != ENOENT || path.size() <= 1)
            return say({Finding::bad, fmt::format("disk of {}: {}", what, errno_error(errno, "cannot look at " + path, "").message)});
        path = parent_path(path).empty() ? "/" : parent_path(path);
    }
    struct statvfs disk{};
    if (::statvfs(path.c_str(), &disk) != 0)
        return say({Finding::bad, fmt::format("disk of {}: {}", what, errno_error(errno, "cannot look at " + path, "").message)});
    say(judge_disk({what, path, disk.f_bavail * disk.f_frsize, disk.f_favail, disk.f_files}, min_free_mib));
    const std::string problem = write_problem(path);
    say({problem.empty() ? Finding::fine : Finding::bad,
         problem.empty() ? fmt::format("disk of {}: a file could be made, synced and removed at {}", what, path)
                         : fmt::format("disk of {}: {} at {}", what, problem, path)});
}

// What a tool said, or why it said nothing.
Result<CommandResult> ask(const std::string &tool, const std::vector<std::string> &arguments, Duration limit) {
    const std::string first = arguments.empty() ? "" : arguments[0];
    say({Finding::doing, fmt::format("chips with {} {}", base_name(tool), first.substr(0, first.find('=')))});
    Command command;
    command.argv = {tool};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.deadline = limit;
    command.max_output_bytes = most_output;
    return run_command(command);
}

std::string words_of(const CommandResult &answer) {
    const auto text = trim(answer.err).empty() ? trim(answer.out) : trim(answer.err);
    return fmt::format("exit code {}: {}", answer.exit_code, text.substr(0, 300));
}

Limits limits_of(const PreflightSpec &spec) { return spec.chips_since_s > 0 ? quick_limits : preflight_limits; }

void look_at_kernel(const std::vector<ChipSeen> &chips, const PreflightSpec &spec) {
    const auto log = ask("dmesg", {}, limits_of(spec).kernel);
    if (!log || !log->ok())
        return say({Finding::fine, "the kernel's log can't be read: Xids not looked at"});
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto uptime = static_cast<double>(now.tv_sec);
    const auto xids = parse_xids(log->out);
    say(spec.chips_since_s > 0 ? judge_xids(xids, chips, uptime, uptime - spec.chips_since_s) : judge_xids(xids, chips, uptime));
}

void look_at_nvidia(const std::string &tool, const PreflightSpec &spec) {
    const auto [chips_limit, second_limit, kernel_limit] = limits_of(spec);
    auto answer = ask(tool, nvidia_query, chips_limit);
    if (!answer) {
        say({Finding::bad, "chips: " + answer.error().text()});
        return look_at_kernel({}, spec); // it may know why
    }
    if (answer->out.find("not a valid field") != std::string::npos || answer->err.find("not a valid field") != std::string::npos) {
        say({Finding::warning, "nvidia-smi is too old to tell memory errors: not checked"});
        answer = ask(tool, nvidia_short_query, second_limit);
        if (!answer)
            return say({Finding::bad, "chips: " + answer.error().text()});
    }
    auto seen = parse_nvidia(answer->out);
    const bool broken = nvidia_says_broken(answer->exit_code);
    if (broken)
        say({Finding::bad, "nvidia-smi failed with " + words_of(*answer)});
    else if (!answer->ok())
        say({Finding::warning, "nvidia-smi failed with " + words_of(*answer)});
    if (const auto rows = ask(tool, nvidia_rows_query, second_limit); rows && rows->ok())
        add_remapped_rows(rows->out, seen.chips);
    seen.chips = chips_of_job(seen.chips, spec.chips_per_node, own_variable("CUDA_VISIBLE_DEVICES"));
    if (!broken || !seen.chips.empty() || !seen.lost.empty())
        say(judge_chips("nvidia-smi", seen, spec.chips_per_node));
    // Where some are missing, the log may say why: then all of it counts.
    look_at_kernel(static_cast<int>(seen.chips.size()) < spec.chips_per_node ? std::vector<ChipSeen>{} : seen.chips, spec);
}

void look_at_rocm(const std::string &tool, const PreflightSpec &spec) {
    const auto [chips_limit, second_limit, kernel_limit] = limits_of(spec);
    const auto answer = ask(tool, rocm_query, chips_limit);
    if (!answer)
        return say({Finding::bad, "chips: " + answer.error().text()});
    if (!answer->ok())
        say({Finding::bad, "rocm-smi failed with " + words_of(*answer)});
    else
        say(judge_chips("rocm-smi", parse_rocm(answer->out), spec.chips_per_node));
    if (const auto errors = ask(tool, rocm_ras_query, second_limit); errors && errors->ok())
        say(judge_rocm_errors(errors->out));
}

void look_at_chips(const PreflightSpec &spec) {
    if (spec.chips_per_node <= 0)
        return;
    say({Finding::doing, "chips: where the tools are"});
    const std::string path = own_variable("PATH", "/usr/bin:/bin");
    if (const auto nvidia = find_program("nvidia-smi", path))
        look_at_nvidia(*nvidia, spec);
    else if (const auto rocm = find_program("rocm-smi", path))
        look_at_rocm(*rocm, spec);
    else
        say({Finding::fine, "no nvidia-smi: chips not checked"});
}

} // namespace

int preflight_main(const std::vector<std::string> &) {
    const std::string order = read_all(0);
    const auto spec = preflight_spec_from(order);
    if (!spec) {
        std::fputs((spec.error().text() + "\n").c_str(), stderr);
        return 2;
    }
    if (spec->chips_since_s > 0) {
        look_at_chips(*spec);
        say({Finding::end, ""});
        return 0;
    }
    const auto here = std::chrono::system_clock::now().time_since_epoch();
    say(judge_clock(spec->head_clock_ms, std::chrono::duration_cast<std::chrono::milliseconds>(here).count()));
    look_at_memory(*spec);
    if (!spec->run_dir.empty())
        look_at_disk("the run's folder", spec->run_dir, spec->min_free_mib);
    if (!spec->checkpoint_dir.empty() && spec->checkpoint_dir != spec->run_dir)
        look_at_disk("the checkpoints' folder", spec->checkpoint_dir, spec->min_free_mib);
    look_at_chips(*spec);
    say({Finding::end, ""});
    return 0;
}

} // namespace trainctl
