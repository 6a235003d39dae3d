#include "agent/node_setup.h"

#include "base/text.h"

#include <array>
#include <csignal>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr int capture_fd = 250; // far from what scripts take for themselves
constexpr const char *program_variable = "TRAINCTL_AGENT_PROGRAM";
constexpr std::size_t most_reads_at_exit = 64;

} // namespace

NodeSetup::NodeSetup(Loop &loop, LogWriter &logs, Setting setting)
    : loop_(loop), logs_(logs), setting_(std::move(setting)) {}

NodeSetup::~NodeSetup() {
    if (output_)
        loop_.forget(output_.get());
}

Result<void> NodeSetup::start() {
    auto pipe = make_pipe();
    if (!pipe)
        return pipe.error();
    // A file and not a pipe: a daemon that setup started may hold it open.
    auto captured = memory_file("environment", "");
    if (!captured)
        return captured.error();
    captured_ = std::move(*captured);
    // Two newlines: the text may end with a backslash.
    const std::string script =
        setting_.script + fmt::format("\n\ntrainctl_status=$?; [ \"$trainctl_status\" -eq 0 ] || exit \"$trainctl_status\"\n"
                                      "\"${}\" environment >&{}\n", program_variable, capture_fd);
    const auto path = setting_.environment.find("PATH");
    const auto bash = find_program("bash", path == setting_.environment.end() ? "/usr/bin:/bin" : path->second);
    SpawnSpec child{{bash.value_or("/bin/bash"), "-c", script}, setting_.environment, setting_.directory,
                    {{pipe->write_end.get(), 1}, {pipe->write_end.get(), 2}, {captured_.get(), capture_fd}}};
    child.environment[program_variable] = setting_.program;
    child.new_session = true;
    child.die_with_parent = true;
    const auto pid = spawn(child);
    if (!pid)
        return pid.error();
    pid_ = *pid;
    output_ = std::move(pipe->read_end);
    set_nonblocking(output_.get());
    loop_.when_readable(output_.get(), [this] { read_output(); });
    return {};
}

void NodeSetup::read_output() {
    std::array<char, 1 << 16> buffer;
    const auto n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (const auto &line : n > 0 ? splitter_.add({buffer.data(), static_cast<std::size_t>(n)}) : splitter_.end()) {
        logs_.write(setting_.log_path, "[setup] " + line);
        last_.add(line);
    }
    if (n <= 0) {
        loop_.forget(output_.get());
        output_.close();
    }
}

void NodeSetup::child_ended(pid_t pid, int status) {
    if (pid_ <= 0 || pid != pid_)
        return;
    pid_ = 0;
    for (std::size_t i = 0; i < most_reads_at_exit && output_; ++i)
        read_output();
    for (const auto &line : splitter_.end()) {
        logs_.write(setting_.log_path, "[setup] " + line);
        last_.add(line);
    }
    SetupResult result;
    const std::string captured = read_all(captured_.get());
    const bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (good && !captured.empty()) {
        result.ok = true;
        result.environment = parse_environment(captured);
    } else {
        const std::string how = good ? "it ended itself with `exit`, so its environment is lost"
                                : WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                                                    : fmt::format("signal {}", WTERMSIG(status));
        auto lines = last_.lines();
        lines.insert(lines.begin(), how);
        result.text = join(lines, "\n");
    }
    setting_.on_done(result);
}

void NodeSetup::kill() {
    if (pid_ > 0)
        ::kill(-pid_, SIGKILL);
}

Environment parse_environment(std::string_view text) {
    constexpr std::array<std::string_view, 5> of_the_shell{"_", "SHLVL", "OLDPWD", "PWD", program_variable};
    Environment out;
    for (const auto &variable : split(text, '\0')) {
        const auto at = variable.find('=');
        if (at != std::string::npos && at > 0)
            out.emplace(variable.substr(0, at), variable.substr(at + 1));
    }
    for (const auto name : of_the_shell)
        out.erase(std::string{name});
    out.erase("trainctl_status");
    return out;
}

} // namespace trainctl
