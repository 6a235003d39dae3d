#include "agent/processes.h"

#include "base/ids.h"
#include "base/text.h"

#include <charconv>
#include <csignal>
#include <cstdint>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t max_environ_bytes = 8u << 20; // the kernel's own limit is about 6 MiB

std::optional<int> number(std::string_view text) {
    int out = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
    return failed == std::errc{} && end == text.data() + text.size() && out >= 0 ? std::optional{out} : std::nullopt;
}

std::string read_proc(const std::string &path) {
    std::string out;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return out;
    char buffer[1 << 14];
    for (ssize_t n = 0; out.size() < max_environ_bytes && (n = ::read(fd, buffer, sizeof buffer)) > 0;)
        out.append(buffer, static_cast<std::size_t>(n));
    ::close(fd);
    return out;
}

std::vector<pid_t> pids() {
    std::vector<pid_t> out;
    const std::unique_ptr<DIR, int (*)(DIR *)> folder{::opendir("/proc"), &::closedir};
    while (const auto *entry = folder ? ::readdir(folder.get()) : nullptr)
        if (const auto pid = number(entry->d_name))
            out.push_back(*pid);
    return out;
}

// "SigCgt:\t0000000000000200" in /proc/<pid>/status: a bit for each signal. Who blocks it waits for it (sigwait, signalfd).
bool takes(pid_t pid, int signal) {
    for (const auto &line : split_lines(read_proc("/proc/" + std::to_string(pid) + "/status"))) {
        const bool handled = starts_with(line, "SigCgt:"), blocked = starts_with(line, "SigBlk:");
        const auto digits = line.find_last_of(" \t") + 1;
        std::uint64_t mask = 0;
        if ((handled || blocked) && std::from_chars(line.data() + digits, line.data() + line.size(), mask, 16).ec == std::errc{} && (mask >> (signal - 1) & 1) != 0)
            return true;
    }
    return false;
}

} // namespace

std::string to_string(const Mark &mark) {
    return mark.run + "/" + std::to_string(mark.attempt) + "/" + std::to_string(mark.generation) + "/" + mark.node;
}

std::optional<Mark> parse_mark(std::string_view text) {
    const auto parts = split(text, '/');
    if (parts.size() != 4 || parts[0].empty())
        return std::nullopt;
    const auto attempt = number(parts[1]), generation = number(parts[2]);
    if (!attempt || !generation)
        return std::nullopt;
    return Mark{parts[0], *attempt, *generation, parts[3]};
}

std::vector<ProcessSeen> list_processes() {
    std::vector<ProcessSeen> out;
    for (const pid_t pid : pids()) {
        const std::string stat = read_proc("/proc/" + std::to_string(pid) + "/stat");
        const auto name_end = stat.rfind(')'); // a name may hold anything, ") S 1" too
        if (name_end == std::string::npos || name_end + 4 >= stat.size())
            continue;
        const auto fields = split(std::string_view{stat}.substr(name_end + 2), ' ');
        const auto parent = fields.size() > 1 ? number(fields[1]) : std::nullopt;
        if (parent)
            out.push_back({pid, *parent, fields[0].empty() ? '?' : fields[0][0]});
    }
    return out;
}

std::vector<pid_t> descendants_of(pid_t root, const std::vector<ProcessSeen> &all) {
    std::set<pid_t> known{root};
    for (bool grew = true; grew;) {
        grew = false;
        for (const auto &process : all)
            if (known.count(process.parent) != 0 && known.insert(process.pid).second)
                grew = true;
    }
    known.erase(root);
    return {known.begin(), known.end()};
}

std::vector<pid_t> takers_of(pid_t root, int signal, const std::vector<ProcessSeen> &all) {
    std::vector<pid_t> takers, level{root};
    std::set<pid_t> known{root};
    while (!level.empty()) {
        std::vector<pid_t> below;
        for (const pid_t pid : level) {
            if (takes(pid, signal)) {
                takers.push_back(pid); // what it forked has its handler, too, and is not meant
                continue;
            }
            for (const auto &process : all)
                if (process.parent == pid && known.insert(process.pid).second)
                    below.push_back(process.pid);
        }
        level = std::move(below);
    }
    return takers.empty() ? std::vector<pid_t>{root} : takers;
}

std::vector<pid_t> marked_processes(const std::function<bool(const Mark &)> &wanted) {
    std::vector<pid_t> out;
    const std::string name = std::string{mark_variable} + "=";
    for (const pid_t pid : pids()) {
        const std::string folder = "/proc/" + std::to_string(pid);
        struct stat owner{};
        if (pid == ::getpid() || ::stat(folder.c_str(), &owner) != 0 || owner.st_uid != ::getuid())
            continue;
        const std::string environment = read_proc(folder + "/environ");
        for (const auto &variable : split(environment, '\0')) {
            if (!starts_with(variable, name))
                continue;
            const auto mark = parse_mark(std::string_view{variable}.substr(name.size()));
            if (mark && wanted(*mark))
                out.push_back(pid);
            break;
        }
    }
    return out;
}

std::size_t kill_marked(const std::function<bool(const Mark &)> &wanted) {
    const auto found = marked_processes(wanted);
    for (const pid_t pid : found)
        ::kill(pid, SIGKILL);
    return found.size();
}

} // namespace trainctl
