#include "agent/node_preflight.h"

#include "agent/processes.h"
#include "agent/spawn.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration dying_limit = 1s;      // after SIGKILL; what lives on then hangs in the kernel
constexpr int most_reads_at_exit = 64;
constexpr std::size_t most_findings = 64; // of each kind; a tool may go mad
constexpr const char *check_name = "health.check";

// The first line of a file in /proc, which never hangs for `comm` and `wchan`.
std::string proc_word(pid_t pid, const char *name) {
    char buffer[128];
    const Fd file{::open(fmt::format("/proc/{}/{}", pid, name).c_str(), O_RDONLY | O_CLOEXEC)};
    const auto n = file ? ::read(file.get(), buffer, sizeof buffer) : -1;
    return n > 0 ? std::string{trim({buffer, static_cast<std::size_t>(n)})} : "";
}

// "; uninterruptible: nvidia-smi (pid 12, in rm_wait)" of `root` and what descends from it; empty: none is.
std::string uninterruptible(pid_t root) {
    const auto all = list_processes();
    auto family = descendants_of(root, all);
    family.push_back(root);
    std::string out;
    for (const auto &process : all)
        if (process.state == 'D' && std::find(family.begin(), family.end(), process.pid) != family.end())
            out += fmt::format("{} {} (pid {}, in {})", out.empty() ? "; uninterruptible:" : ",", proc_word(process.pid, "comm"),
                               process.pid, proc_word(process.pid, "wchan"));
    return out;
}

// With what it started: tools have process groups of their own, and children.
void kill_tree(pid_t root) {
    for (const pid_t pid : descendants_of(root, list_processes()))
        ::kill(pid, SIGKILL);
    ::kill(-root, SIGKILL);
}

void keep(std::vector<std::string> &lines, const std::string &line) {
    if (lines.size() < most_findings)
        lines.push_back(line);
}

} // namespace

NodePreflight::NodePreflight(Loop &loop, LogWriter &logs, Setting setting)
    : loop_(loop), logs_(logs), setting_(std::move(setting)) {}

NodePreflight::~NodePreflight() { kill(); }

Result<void> NodePreflight::start() { return start_phase(Phase::quick); }

Result<void> NodePreflight::start_phase(Phase phase) {
    auto pipe = make_pipe();
    if (!pipe)
        return pipe.error();
    SpawnSpec child{{setting_.program, "preflight"}, setting_.spec.environment, "",
                    {{pipe->write_end.get(), 1}, {pipe->write_end.get(), 2}}};
    Fd input;
    if (phase == Phase::quick) {
        auto spec = memory_file("preflight", preflight_spec_text(setting_.spec));
        if (!spec)
            return spec.error();
        input = std::move(*spec);
        child.fds.emplace_back(input.get(), 0);
    } else {
        // env looks for bash in PATH, in the child: that may be on a file system that hangs.
        child.argv = {"/usr/bin/env", "bash", "-c", setting_.spec.check};
        child.directory = setting_.spec.directory;
    }
    child.new_session = true;
    child.die_with_parent = true;
    const auto pid = spawn(child);
    if (!pid)
        return pid.error();
    pid_ = *pid;
    phase_ = phase;
    running_ = true;
    late_ = ended_well_ = false;
    doing_ = phase == Phase::quick ? "its start" : check_name;
    splitter_ = {};
    last_ = {};
    output_ = std::move(pipe->read_end);
    set_nonblocking(output_.get());
    loop_.when_readable(output_.get(), [this] { read_output(); });
    timer_ = loop_.after(phase == Phase::quick ? setting_.quick_limit : setting_.check_limit, [this] { too_late(); });
    return {};
}

void NodePreflight::log(const std::string &line) {
    if (!setting_.spec.log_path.empty())
        logs_.write(setting_.spec.log_path, (phase_ == Phase::quick ? "[preflight] " : "[check] ") + line);
}

void NodePreflight::read_output() {
    std::array<char, 1 << 14> buffer;
    const auto n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (const auto &line : n > 0 ? splitter_.add({buffer.data(), static_cast<std::size_t>(n)}) : splitter_.end())
        take_line(line);
    if (n <= 0) {
        loop_.forget(output_.get());
        output_.close();
    }
}

void NodePreflight::take_line(const std::string &line) {
    const auto said = phase_ == Phase::quick ? parse_preflight_line(line) : std::nullopt;
    if (!said) {
        last_.add(line);
        return log(line);
    }
    switch (said->finding) {
    case Finding::doing:
        doing_ = said->text;
        return;
    case Finding::end:
        ended_well_ = true;
        return;
    case Finding::fine:
        keep(fine_, said->text);
        break;
    case Finding::warning:
        keep(warnings_, "warning: " + said->text);
        break;
    case Finding::bad:
        keep(bad_, said->text);
        if (!said->fact.empty() && faults_.size() < most_findings)
            faults_.push_back(*said);
        break;
    case Finding::shared:
        keep(shared_, said->text);
        break;
    }
    log(line);
}

void NodePreflight::too_late() {
    const std::string stuck = uninterruptible(pid_);
    late_ = true;
    keep(bad_, phase_ == Phase::check
                   ? fmt::format("{} did not end within {}{}", check_name, human_duration(setting_.check_limit), stuck)
                   : fmt::format("looking at {} did not end within {} for the whole preflight{}", doing_,
                                 human_duration(setting_.quick_limit), stuck));
    kill_tree(pid_);
    timer_ = loop_.after(dying_limit, [this] { abandon(); });
}

void NodePreflight::abandon() {
    timer_ = 0;
    keep(bad_, fmt::format("process {} does not die of SIGKILL and is left behind{}", pid_, uninterruptible(pid_)));
    phase_ended("");
}

void NodePreflight::child_ended(pid_t pid, int status) {
    if (!running_ || pid != pid_)
        return;
    for (int i = 0; i < most_reads_at_exit && output_; ++i)
        read_output();
    for (const auto &line : splitter_.end())
        take_line(line);
    const std::string how = WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status)) : fmt::format("exit code {}", WEXITSTATUS(status));
    const bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    std::string problem;
    if (phase_ == Phase::check && !good)
        problem = fmt::format("{} failed: {}, 0 expected", check_name, how);
    else if (phase_ == Phase::quick && (!good || !ended_well_))
        problem = fmt::format("the preflight itself ended with {} while it looked at {}", how, doing_);
    phase_ended(late_ ? "" : problem);
}

void NodePreflight::phase_ended(const std::string &problem) {
    stop_watching();
    if (!problem.empty())
        keep(bad_, problem);
    if (!problem.empty() || late_)
        for (const auto &line : last_.lines())
            keep(bad_, "  " + line);
    if (phase_ == Phase::quick && bad_.empty() && shared_.empty() && !trim(setting_.spec.check).empty()) {
        const auto started = start_phase(Phase::check);
        if (started)
            return;
        keep(bad_, fmt::format("{} cannot be run: {}", check_name, started.error().text()));
    } else if (phase_ == Phase::check && bad_.empty()) {
        keep(fine_, fmt::format("{}: exit code 0", check_name));
    }
    done();
}

void NodePreflight::done() {
    PreflightResult result;
    result.ok = bad_.empty() && shared_.empty();
    result.by_node = !bad_.empty();
    result.faults = faults_;
    auto lines = bad_;
    lines.insert(lines.end(), shared_.begin(), shared_.end());
    lines.insert(lines.end(), warnings_.begin(), warnings_.end());
    if (result.ok)
        lines.insert(lines.end(), fine_.begin(), fine_.end());
    result.text = join(lines, "\n");
    running_ = false;
    const auto on_done = std::move(setting_.on_done); // it may destroy us
    on_done(result);
}

void NodePreflight::stop_watching() {
    loop_.cancel(timer_);
    if (output_) {
        loop_.forget(output_.get());
        output_.close();
    }
    pid_ = 0;
}

void NodePreflight::kill() {
    if (pid_ > 0)
        kill_tree(pid_);
    running_ = false;
    stop_watching();
}

} // namespace trainctl
