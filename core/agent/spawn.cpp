#include "agent/spawn.h"

#include "base/exec_arguments.h"
#include "base/text.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace trainctl {

namespace {

// What raise_file_limit() changed. The limit is the process's own, and so is the memory of it.
std::optional<rlimit> &limit_before() {
    static std::optional<rlimit> limit;
    return limit;
}

// All that the child needs, made before the fork: after it only async-signal-safe calls are allowed.
struct Prepared {
    std::vector<std::string> arguments, variables;
    std::vector<char *> argv, envp;
    std::string program, directory;
    std::vector<std::pair<int, int>> fds;
    cpu_set_t cpus{};
    bool bind = false, new_session = false, die_with_parent = false;
    int highest = 3;
    pid_t parent = 0;
    std::optional<rlimit> files;
};

[[noreturn]] void fail(const char *what, const char *name) {
    const int code = errno;
    char number[16];
    int at = sizeof number;
    number[--at] = '\n';
    for (int left = code; at > 0 && (left > 0 || at == sizeof number - 1); left /= 10)
        number[--at] = static_cast<char>('0' + left % 10);
    const char *reason = code == ENOENT ? "no such file" : code == EACCES ? "permission denied" : "error";
    for (const char *text : {"trainctl: ", what, " ", name, ": ", reason, ", errno "})
        [[maybe_unused]] const auto n = ::write(2, text, std::strlen(text));
    [[maybe_unused]] const auto n = ::write(2, number + at, sizeof number - static_cast<std::size_t>(at));
    ::_exit(127);
}

void close_above(int lowest) {
    if (::syscall(SYS_close_range, static_cast<unsigned>(lowest), ~0u, 0u) == 0)
        return;
    // Kernels before 5.9.
    struct rlimit limit{};
    const int end = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 65536)) : 1024;
    for (int fd = lowest; fd < end; ++fd)
        ::close(fd);
}

void place_descriptors(Prepared &made) {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    // First out of the way of each other's targets.
    for (auto &[ours, theirs] : made.fds) {
        ours = ::fcntl(ours, F_DUPFD, made.highest);
        if (ours < 0)
            fail("cannot pass a descriptor to", made.program.c_str());
    }
    const int safe_null = ::fcntl(null, F_DUPFD, made.highest);
    for (int fd = 0; fd < 3; ++fd)
        ::dup2(safe_null, fd);
    for (const auto &[ours, theirs] : made.fds)
        ::dup2(ours, theirs);
    for (int fd = 3; fd < made.highest; ++fd) {
        bool wanted = false;
        for (const auto &[ours, theirs] : made.fds)
            wanted = wanted || theirs == fd;
        if (!wanted)
            ::close(fd);
    }
    close_above(made.highest);
}

[[noreturn]] void run_child(Prepared &made) {
    for (int signal = 1; signal < NSIG; ++signal)
        ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (made.new_session)
        ::setsid();
    else
        ::setpgid(0, 0);
    if (made.die_with_parent) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != made.parent)
            ::_exit(127);
    }
    if (made.bind)
        ::sched_setaffinity(0, sizeof made.cpus, &made.cpus); // slower where refused, not wrong
    place_descriptors(made);
    if (!made.directory.empty() && ::chdir(made.directory.c_str()) != 0)
        fail("cannot enter", made.directory.c_str());
    if (made.files)
        ::setrlimit(RLIMIT_NOFILE, &*made.files);
    ::execve(made.program.c_str(), made.argv.data(), made.envp.data());
    fail("cannot start", made.program.c_str());
}

} // namespace

Result<Fd> memory_file(const char *name, const std::string &content) {
    Fd fd{::memfd_create(name, MFD_CLOEXEC)};
    if (!fd)
        return errno_error(errno, "cannot make a file in memory", name);
    for (std::size_t at = 0; at < content.size();) {
        const auto n = ::pwrite(fd.get(), content.data() + at, content.size() - at, static_cast<off_t>(at));
        if (n <= 0)
            return errno_error(errno, "cannot write a file in memory", name);
        at += static_cast<std::size_t>(n);
    }
    return fd;
}

std::string read_all(int fd) {
    std::string out;
    char buffer[1 << 14];
    for (;;) {
        const auto n = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(out.size()));
        if (n <= 0)
            return out;
        out.append(buffer, static_cast<std::size_t>(n));
    }
}

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

void raise_file_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    const rlimit before = limit;
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) == 0 && !limit_before())
        limit_before() = before;
}

Result<pid_t> spawn(const SpawnSpec &spec) {
    INVARIANT(!spec.argv.empty());
    Prepared made;
    made.arguments = spec.argv;
    for (const auto &[name, value] : spec.environment)
        made.variables.push_back(name + "=" + value);
    made.argv = exec_pointers(made.arguments);
    made.envp = exec_pointers(made.variables);
    made.program = spec.argv[0];
    if (made.program.find('/') == std::string::npos) {
        const auto path = spec.environment.find("PATH");
        made.program = find_program(made.program, path == spec.environment.end() ? "/usr/bin:/bin" : path->second).value_or(made.program);
    }
    made.directory = spec.directory;
    made.fds = spec.fds;
    for (const auto &[ours, theirs] : made.fds)
        made.highest = std::max(made.highest, theirs + 1);
    made.new_session = spec.new_session;
    made.die_with_parent = spec.die_with_parent;
    made.parent = ::getpid();
    for (const int cpu : spec.cpus)
        if (cpu >= 0 && cpu < CPU_SETSIZE)
            CPU_SET(static_cast<std::size_t>(cpu), &made.cpus);
    made.bind = !spec.cpus.empty();
    made.files = limit_before();

    // No handler of ours may run in the child before it has its own.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t child = ::fork();
    if (child == 0)
        run_child(made);
    const int code = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (child < 0)
        return errno_error(code, "cannot start " + spec.argv[0], "");
    return child;
}

std::string own_program() {
    char path[4096];
    const auto size = ::readlink("/proc/self/exe", path, sizeof path);
    std::string program = size > 0 ? std::string(path, static_cast<std::size_t>(size)) : "";
    // What the kernel adds where another file took the name (proc(5)): the agent's name is its content's hash.
    constexpr std::string_view deleted = " (deleted)";
    if (ends_with(program, deleted))
        program.resize(program.size() - deleted.size());
    return program;
}

} // namespace trainctl
