#include "agent/node_report.h"

#include "agent/spawn.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t most_evidence_bytes = 32u << 10; // the kernel takes 128 KiB in one variable
constexpr int most_reads_at_exit = 16;

} // namespace

struct NodeReporter::Call {
    pid_t pid = 0;
    std::string node;
    Fd output;
    LineSplitter splitter;
    Loop::Timer timer = 0;
};

NodeReporter::NodeReporter(Loop &loop, LogWriter &logs, Setting setting)
    : loop_(loop), logs_(logs), setting_(std::move(setting)) {}

NodeReporter::~NodeReporter() { kill(); }

bool NodeReporter::report(const NodeReport &report) {
    if (trim(setting_.command).empty() || !told_.insert({report.node, report.attempt}).second)
        return false;
    auto call = std::make_unique<Call>();
    call->node = report.node;
    std::string evidence = valid_utf8(report.evidence.substr(0, most_evidence_bytes));
    std::replace(evidence.begin(), evidence.end(), '\0', ' ');
    auto pipe = make_pipe();
    if (!pipe) {
        say(*call, "cannot be run: " + pipe.error().text());
        return false;
    }
    SpawnSpec child{{"/usr/bin/env", "bash", "-c", setting_.command}, setting_.environment, setting_.directory,
                    {{pipe->write_end.get(), 1}, {pipe->write_end.get(), 2}}};
    child.environment["TRAINCTL_BAD_NODE"] = report.node;
    child.environment["TRAINCTL_EVIDENCE"] = evidence;
    child.environment["TRAINCTL_RUN"] = report.run;
    child.environment["TRAINCTL_ATTEMPT"] = std::to_string(report.attempt);
    child.new_session = true;
    child.die_with_parent = true;
    const auto pid = spawn(child);
    if (!pid) {
        say(*call, "cannot be run: " + pid.error().text());
        return false;
    }
    call->pid = *pid;
    call->output = std::move(pipe->read_end);
    set_nonblocking(call->output.get());
    loop_.when_readable(call->output.get(), [this, call = call.get()] { read_output(*call); });
    call->timer = loop_.after(setting_.limit, [this, pid = *pid] { too_late(pid); });
    calls_[*pid] = std::move(call);
    return true;
}

void NodeReporter::say(const Call &call, const std::string &text) {
    logs_.write(setting_.log_path, fmt::format("[report_node {}] {}", call.node, text));
}

void NodeReporter::read_output(Call &call) {
    std::array<char, 1 << 14> buffer;
    const auto n = ::read(call.output.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (const auto &line : n > 0 ? call.splitter.add({buffer.data(), static_cast<std::size_t>(n)}) : call.splitter.end())
        say(call, line);
    if (n <= 0) {
        loop_.forget(call.output.get());
        call.output.close();
    }
}

void NodeReporter::too_late(pid_t pid) {
    ::kill(-pid, SIGKILL);
    say(*calls_.at(pid), fmt::format("did not end within {}: killed", human_duration(setting_.limit)));
    calls_.at(pid)->timer = 0;
    left_behind_.insert(pid);
    ended(pid);
}

void NodeReporter::child_ended(pid_t pid, int status) {
    left_behind_.erase(pid);
    const auto found = calls_.find(pid);
    if (found == calls_.end())
        return;
    if (WIFSIGNALED(status))
        say(*found->second, fmt::format("ended by signal {}", WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        say(*found->second, fmt::format("failed with exit code {}", WEXITSTATUS(status)));
    ended(pid);
}

void NodeReporter::ended(pid_t pid) {
    auto &call = *calls_.at(pid);
    for (int i = 0; i < most_reads_at_exit && call.output; ++i)
        read_output(call);
    for (const auto &line : call.splitter.end())
        say(call, line);
    if (call.output)
        loop_.forget(call.output.get());
    loop_.cancel(call.timer);
    calls_.erase(pid);
}

void NodeReporter::kill() {
    while (!calls_.empty()) {
        const pid_t pid = calls_.begin()->first;
        ::kill(-pid, SIGKILL);
        left_behind_.insert(pid);
        ended(pid);
    }
}

std::vector<pid_t> NodeReporter::pids() const {
    std::vector<pid_t> out{left_behind_.begin(), left_behind_.end()};
    for (const auto &[pid, call] : calls_)
        out.push_back(pid);
    return out;
}

} // namespace trainctl
