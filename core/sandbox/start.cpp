#include "sandbox/processes.h"

#include "base/exec_arguments.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

// Strings made before fork(), for the calls behind it.
struct Views {
    const Isolation &isolation;
    std::string users = fmt::format("{0} {0} 1\n", ::geteuid()), groups = fmt::format("{0} {0} 1\n", ::getegid());
};

bool put(const char *path, const std::string &text) {
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    const bool done = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (fd >= 0)
        ::close(fd);
    return done;
}

// In the child, between fork and exec: async-signal-safe calls only. False with errno.
bool isolate(const Views &views) {
    const auto &isolation = views.isolation;
    if (!isolation.wanted())
        return true;
    static const std::string deny = "deny"; // groups can't be mapped otherwise
    if (::unshare(CLONE_NEWNS | CLONE_NEWUTS | (isolation.user_namespace ? CLONE_NEWUSER : 0)) != 0)
        return false;
    if (isolation.user_namespace && !(put("/proc/self/setgroups", deny) && put("/proc/self/uid_map", views.users) &&
                                      put("/proc/self/gid_map", views.groups)))
        return false;
    // Ours must not be seen by others; what the machine mounts later is seen here.
    if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
        return false;
    for (const auto &[source, target] : isolation.binds)
        if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0)
            return false;
    return isolation.hostname.empty() || ::sethostname(isolation.hostname.data(), isolation.hostname.size()) == 0;
}

struct Birth {
    char *const *argv, *const *envp;
    const char *directory;
    int in, out, report;
    const Views &views;
};

// In the child as well.
[[noreturn]] void become(const Birth &birth) {
    sigset_t none;
    ::sigemptyset(&none);
    for (int signal = 1; signal < 32; ++signal)
        ::signal(signal, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::umask(022);
    if (isolate(birth.views) && ::chdir(birth.directory) == 0 && ::dup2(birth.in, 0) == 0 && ::dup2(birth.out, 1) == 1 &&
        ::dup2(birth.out, 2) == 2) {
        ::dup2(birth.report, 3);
        ::fcntl(3, F_SETFD, FD_CLOEXEC);
        ::syscall(SYS_close_range, 4U, ~0U, 0U);
        ::execve(birth.argv[0], birth.argv, birth.envp);
        const int code = errno;
        [[maybe_unused]] const auto n = ::write(3, &code, sizeof code);
        ::_exit(127);
    }
    const int code = errno;
    [[maybe_unused]] const auto n = ::write(birth.report, &code, sizeof code);
    ::_exit(127);
}

} // namespace

Result<void> start_detached(const DetachedCommand &command) {
    std::vector<std::string> arguments = command.argv, variables;
    for (const auto &[name, value] : command.environment)
        variables.push_back(name + "=" + value);
    const auto argv = exec_pointers(arguments), envp = exec_pointers(variables);
    const Views views{command.isolation};
    const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int out = ::open(command.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int report[2] = {-1, -1};
    const bool ready = in >= 0 && out >= 0 && ::pipe2(report, O_CLOEXEC) == 0;
    int failed = ready ? 0 : errno;
    // Two forks: the daemon is nobody's child, and its session leader is gone, so that no terminal finds it.
    const pid_t child = ready ? ::fork() : -1;
    if (child == 0) {
        ::setsid();
        const pid_t daemon = ::fork();
        if (daemon != 0)
            ::_exit(daemon > 0 ? 0 : 126);
        become({argv.data(), envp.data(), command.directory.c_str(), in, out, report[1], views});
    }
    if (ready && child < 0)
        failed = errno;
    if (report[1] >= 0)
        ::close(report[1]);
    if (child > 0) {
        int status = 0;
        ::waitpid(child, &status, 0);
        if (status != 0)
            failed = EAGAIN;
        else if (::read(report[0], &failed, sizeof failed) != sizeof failed)
            failed = 0;
    }
    for (const int fd : {in, out, report[0]})
        if (fd >= 0)
            ::close(fd);
    if (failed != 0)
        return errno_error(failed, "cannot start " + command.argv[0], command.output);
    return {};
}

std::string try_isolation(const Isolation &isolation) {
    const Views views{isolation};
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(isolate(views) ? 0 : errno);
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return "a process of its own can't be made";
    return WEXITSTATUS(status) == 0 ? "" : fmt::format("no namespaces: {}", std::strerror(WEXITSTATUS(status)));
}

} // namespace trainctl
