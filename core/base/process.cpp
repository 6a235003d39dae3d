#include "base/process.h"

#include "base/exec_arguments.h"
#include "base/fd.h"
#include "base/feed.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace trainctl {

namespace {

constexpr std::size_t read_size = 1u << 16; // a pipe's default capacity

struct ExecArguments {
    std::vector<char *> argv, envp;
    std::string program, directory;
    int with_us; // the signal when the calling thread dies
};

// Only async-signal-safe calls: this runs between fork and exec. The errno of a failure goes up the pipe.
[[noreturn]] void exec_child(const ExecArguments &exec, int in, int out, int err, int report) {
    const auto fail = [&](int code) {
        [[maybe_unused]] const auto n = ::write(report, &code, sizeof code);
        ::_exit(127);
    };
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, exec.with_us);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0)
        fail(errno);
    if (!exec.directory.empty() && ::chdir(exec.directory.c_str()) != 0)
        fail(errno);
    ::execve(exec.program.c_str(), exec.argv.data(), exec.envp.data());
    fail(errno);
    ::_exit(127);
}

struct Streams {
    Fd in, out, err;
};

enum class Pump { ended, deadline, stopped, no_input };

constexpr long long longest_poll_ms = 1000, interrupt_poll_ms = 100; // a signal ends a poll at once, unless it came just before

bool is_interrupted(const Command &command) { return command.interrupted && command.interrupted(); }

// One write of what there is; closes `fd` at the end of the input and when the command reads no more.
Result<void> feed_once(Feed &feed, Fd &fd) {
    const auto bytes = feed.next();
    if (!bytes)
        return bytes.error();
    const auto n = bytes->empty() ? 0 : ::write(fd.get(), bytes->data(), bytes->size());
    if (n > 0)
        feed.taken(static_cast<std::size_t>(n));
    if (bytes->empty() || (n < 0 && errno != EINTR && errno != EAGAIN))
        fd.close();
    return {};
}

// One read into `into`; false at end of file.
bool drain(int fd, std::string &into, std::size_t limit, bool &truncated) {
    std::array<char, read_size> buffer;
    const auto n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    const std::size_t room = limit - std::min(limit, into.size());
    into.append(buffer.data(), std::min(room, static_cast<std::size_t>(n)));
    truncated |= static_cast<std::size_t>(n) > room;
    return n > 0;
}

bool deliver(int fd, const std::function<bool(std::string_view)> &sink, bool &stopped) {
    std::array<char, read_size> buffer;
    const auto n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    stopped = n > 0 && !sink(std::string_view{buffer.data(), static_cast<std::size_t>(n)});
    return n > 0;
}

// Feeds and reads until both outputs are at their end or the deadline is there. `input_error` with no_input.
Pump pump(const Command &command, Streams &streams, CommandResult &result, Instant end, Error &input_error) {
    Feed feed{command.input, command.more_input};
    if (command.input.empty() && !command.more_input)
        streams.in.close();
    while (streams.out.get() >= 0 || streams.err.get() >= 0) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
        if (left <= 0)
            return Pump::deadline;
        if (is_interrupted(command))
            return Pump::stopped;
        std::array<pollfd, 3> polls{pollfd{streams.in.get(), POLLOUT, 0}, pollfd{streams.out.get(), POLLIN, 0},
                                    pollfd{streams.err.get(), POLLIN, 0}};
        if (::poll(polls.data(), polls.size(), static_cast<int>(std::min<long long>(left, command.interrupted ? interrupt_poll_ms : longest_poll_ms))) <= 0)
            continue;
        if (polls[0].revents != 0) {
            if (const auto fed = feed_once(feed, streams.in); !fed) {
                input_error = fed.error();
                return Pump::no_input;
            }
        }
        if (polls[1].revents != 0) {
            bool stopped = false;
            const bool more = command.on_output
                                  ? deliver(streams.out.get(), command.on_output, stopped)
                                  : drain(streams.out.get(), result.out, command.max_output_bytes, result.truncated);
            if (stopped)
                return Pump::stopped;
            if (!more)
                streams.out.close();
        }
        if (polls[2].revents != 0 && !drain(streams.err.get(), result.err, command.max_output_bytes, result.truncated))
            streams.err.close();
    }
    return Pump::ended;
}

int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The child closed its outputs but may live on; it gets until the deadline.
bool exits_before(pid_t child, Instant end, const Command &command) {
    for (;;) {
        siginfo_t info{};
        const int asked = ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT);
        INVARIANT(asked == 0 || errno != ECHILD); // somebody else took its exit: nobody may wait for -1 beside threads
        if (asked == 0 && info.si_pid == child)
            return true;
        if (std::chrono::steady_clock::now() >= end || is_interrupted(command))
            return false;
        ::poll(nullptr, 0, 2);
    }
}

class IgnoreSigpipe {
public:
    IgnoreSigpipe() : old_(::signal(SIGPIPE, SIG_IGN)) {}
    ~IgnoreSigpipe() { ::signal(SIGPIPE, old_); }
    IgnoreSigpipe(const IgnoreSigpipe &) = delete;
    IgnoreSigpipe &operator=(const IgnoreSigpipe &) = delete;

private:
    void (*old_)(int);
};

} // namespace

std::optional<std::string> find_program(const std::string &name, const std::string &path) {
    if (name.find('/') != std::string::npos)
        return ::access(name.c_str(), X_OK) == 0 ? std::optional{name} : std::nullopt;
    for (const auto &folder : split(path, ':')) {
        std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0)
            return candidate;
    }
    return std::nullopt;
}

Environment own_environment() {
    Environment out;
    for (char **entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const auto at = text.find('=');
        if (at != std::string_view::npos)
            out.emplace(text.substr(0, at), text.substr(at + 1));
    }
    return out;
}

std::string own_variable(const char *name, const std::string &otherwise) {
    const char *value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody sets variables while threads run
    return value != nullptr ? value : otherwise;
}

Result<CommandResult> run_command(const Command &command) {
    INVARIANT(!command.argv.empty());
    const Instant end = std::chrono::steady_clock::now() + command.deadline;
    const Environment environment = command.environment ? *command.environment : own_environment();
    const auto path = environment.find("PATH");
    const auto program = find_program(command.argv[0], path == environment.end() ? "/usr/bin:/bin" : path->second);
    if (!program)
        return Error{ErrorKind::not_found, command.argv[0] + ": no such program in PATH", "", ""};

    std::vector<std::string> arguments = command.argv, variables;
    for (const auto &[name, value] : environment)
        variables.push_back(name + "=" + value);
    const ExecArguments exec{exec_pointers(arguments), exec_pointers(variables), *program, command.directory, command.interrupted ? SIGTERM : SIGKILL};

    auto in = make_pipe(), out = make_pipe(), err = make_pipe(), report = make_pipe();
    for (const auto *made : {&in, &out, &err, &report})
        if (!*made)
            return made->error();

    const IgnoreSigpipe ignore;
    const pid_t child = ::fork();
    if (child < 0)
        return errno_error(errno, "cannot start " + command.argv[0], "");
    if (child == 0)
        exec_child(exec, in->read_end.get(), out->write_end.get(), err->write_end.get(), report->write_end.get());
    in->read_end.close();
    out->write_end.close();
    err->write_end.close();
    report->write_end.close();

    int failed = 0;
    if (::read(report->read_end.get(), &failed, sizeof failed) == sizeof failed) {
        wait_for(child);
        return errno_error(failed, "cannot start " + command.argv[0], command.directory);
    }

    ::fcntl(in->write_end.get(), F_SETFL, O_NONBLOCK);
    CommandResult result;
    Streams streams{std::move(in->write_end), std::move(out->read_end), std::move(err->read_end)};
    Error input_error;
    const Pump how = pump(command, streams, result, end, input_error);
    if (how == Pump::ended && exits_before(child, end, command)) {
        result.exit_code = wait_for(child);
        return result;
    }
    ::kill(-child, command.interrupted ? SIGTERM : SIGKILL);
    if (!command.interrupted)
        wait_for(child);
    if (how == Pump::no_input)
        return input_error;
    if (how == Pump::stopped || is_interrupted(command))
        return Error{ErrorKind::interrupted, command.argv[0] + " was ended on request", "", ""};
    return Error{ErrorKind::timeout,
                 command.argv[0] + " did not answer within " + human_duration(command.deadline) +
                     (result.err.empty() ? "" : "; it said: " + std::string{trim(result.err)}),
                 "", ""};
}

} // namespace trainctl
