#include "sandbox/processes.h"

#include "base/files.h"
#include "base/text.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr auto kill_deadline = std::chrono::seconds{20}; // processes in D state, on a busy machine
constexpr std::size_t proc_file_limit = 4u << 20;        // arguments and environments of one process

std::string read_proc(const std::string &path) {
    std::string text;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return text; // ended, or another user's
    char buffer[8192];
    for (ssize_t n = 0; text.size() < proc_file_limit && (n = ::read(fd, buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(n));
    ::close(fd);
    return text;
}

std::string read_link(const std::string &path) {
    char buffer[4096];
    const auto n = ::readlink(path.c_str(), buffer, sizeof buffer);
    return n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : "";
}

std::vector<std::string> zero_ended(std::string text) {
    while (!text.empty() && text.back() == '\0') // titles are padded
        text.pop_back();
    return text.empty() ? std::vector<std::string>{} : split(text, '\0');
}

std::string program_of(const std::string &folder) {
    std::string name = base_name(read_link(folder + "/exe"));
    if (const auto deleted = name.find(" (deleted)"); deleted != std::string::npos) // its package was upgraded
        name.resize(deleted);
    if (ends_with(name, "-wlm")) // Debian's name for Slurm's daemons, behind links in /etc/alternatives
        name.resize(name.size() - 4);
    return name.empty() ? std::string{trim(read_proc(folder + "/comm"))} : name;
}

// Slurm's and OpenSSH's processes write their titles over their environment: their open files tell.
bool holds_file_under(const std::string &folder, const SandboxLayout &layout) {
    const auto under = [](const std::string &path, const std::string &top) { return starts_with(path, top + "/"); };
    const auto names = PosixFiles{}.list(folder + "/fd");
    for (const auto &name : names ? *names : std::vector<std::string>{}) {
        const auto target = read_link(folder + "/fd/" + name);
        if (under(target, layout.state) || under(target, layout.sockets))
            return true;
    }
    return false;
}

bool is_daemon(const std::string &program) {
    for (const char *name : {"munged", "slurmctld", "slurmd", "slurmstepd", "sshd", "slurmdbd", "mariadbd"})
        if (program == name)
            return true;
    return false;
}

ProcessInfo read_process(pid_t pid, pid_t parent, const SandboxLayout &layout) {
    const std::string folder = fmt::format("/proc/{}", pid);
    ProcessInfo info;
    info.pid = pid;
    info.parent = parent;
    info.program = program_of(folder);
    info.arguments = zero_ended(read_proc(folder + "/cmdline"));
    const std::string environment = std::string{'\0'} + read_proc(folder + "/environ") + '\0';
    const std::string mark = std::string{'\0'} + sandbox_mark + "=" + layout.state + '\0';
    info.marked = environment.find(mark) != std::string::npos;
    for (const std::string variable : {"SLURMD_NODENAME", "TRAINCTL_NODE"}) // ranks lose Slurm's
        if (const auto at = environment.find('\0' + variable + "="); at != std::string::npos)
            info.node = environment.c_str() + at + variable.size() + 2; // up to the next zero
    info.holds_files = !info.marked && is_daemon(info.program) && holds_file_under(folder, layout);
    return info;
}

// Processes held by pidfd: a pid that is used again for another process can't be hit.
class Held {
public:
    Held() = default;
    ~Held() {
        for (const auto &[pid, fd] : fds_)
            ::close(fd);
    }
    Held(const Held &) = delete;
    Held &operator=(const Held &) = delete;

    // Opened first, looked at then: what is stopped is what was seen. True where it is new.
    bool stop(pid_t pid, const std::set<pid_t> &chosen, const SandboxLayout &layout) {
        if (fds_.contains(pid))
            return false;
        const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
        const auto parent = fd < 0 ? std::nullopt : parent_from_stat(read_proc(fmt::format("/proc/{}/stat", pid)));
        if (parent) {
            const auto now = read_process(pid, *parent, layout);
            if (now.marked || now.holds_files || chosen.contains(*parent)) {
                ::syscall(SYS_pidfd_send_signal, fd, SIGSTOP, nullptr, 0U);
                return fds_.emplace(pid, fd).second;
            }
        }
        if (fd >= 0)
            ::close(fd);
        return false;
    }

    void kill() const {
        for (const auto &[pid, fd] : fds_)
            ::syscall(SYS_pidfd_send_signal, fd, SIGKILL, nullptr, 0U);
    }

    // Those that have not ended by then.
    std::vector<std::string> wait(std::chrono::steady_clock::time_point end) const {
        std::vector<std::string> left;
        for (const auto &[pid, fd] : fds_) {
            const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
            pollfd ended{fd, POLLIN, 0};
            if (::poll(&ended, 1, std::max(0, static_cast<int>(rest.count()))) != 1)
                left.push_back(std::to_string(pid));
        }
        return left;
    }

    std::size_t size() const { return fds_.size(); }

private:
    std::map<pid_t, int> fds_;
};

} // namespace

std::vector<ProcessInfo> read_processes(const SandboxLayout &layout) {
    std::vector<ProcessInfo> out;
    const auto names = PosixFiles{}.list("/proc");
    for (const auto &name : names ? *names : std::vector<std::string>{}) {
        if (name.empty() || name.find_first_not_of("0123456789") != std::string::npos)
            continue;
        const std::string folder = "/proc/" + name;
        struct stat info {};
        const auto parent = parent_from_stat(read_proc(folder + "/stat"));
        if (parent && ::stat(folder.c_str(), &info) == 0 && (info.st_uid == ::geteuid() || ::geteuid() == 0))
            out.push_back(read_process(static_cast<pid_t>(std::stol(name)), *parent, layout));
    }
    return out;
}

std::set<int> read_listening_ports() { return listening_ports(read_proc("/proc/net/tcp")); }

Result<int> kill_processes(const SandboxLayout &layout) {
    return kill_chosen(layout, [](const auto &processes) { return sandbox_processes(processes, ::getpid()); });
}

Result<int> kill_chosen(const SandboxLayout &layout, const ChooseProcesses &choose) {
    const auto end = std::chrono::steady_clock::now() + kill_deadline;
    for (int killed = 0;;) {
        Held held;
        for (bool again = true; again;) {
            const auto found = choose(read_processes(layout));
            const std::set<pid_t> chosen{found.begin(), found.end()};
            again = false;
            for (const pid_t pid : found)
                again = held.stop(pid, chosen, layout) || again;
        }
        if (held.size() == 0)
            return killed;
        held.kill();
        killed += static_cast<int>(held.size());
        if (const auto left = held.wait(end); !left.empty())
            return Error{ErrorKind::timeout, "these processes would not die: " + join(left, " "), layout.state,
                         "run `trainctl sandbox down` again"};
    }
}

} // namespace trainctl
