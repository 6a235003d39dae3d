#include "agent/chip_look.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <csignal>

namespace trainctl {

namespace {

double uptime_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

} // namespace

bool chips_may_have_to_do_with(const RankExit &exit) {
    constexpr int by_signal = 128; // shells: 128 + signal
    constexpr std::array crashes{SIGSEGV, SIGBUS, SIGABRT}; // the last by the watchdogs of NCCL, and by assertions of drivers
    constexpr std::array words{"cuda", "nccl", "cudnn", "cublas", "nvml", "nvlink", "gpu", "xid", "rocm", "rccl", "hip error"};
    if (exit.killed || (exit.signal == 0 && exit.exit_code == 0))
        return false;
    const int signal = exit.signal > 0 ? exit.signal : exit.exit_code - by_signal;
    if (std::find(crashes.begin(), crashes.end(), signal) != crashes.end())
        return true;
    return std::any_of(exit.last_lines.begin(), exit.last_lines.end(), [&](std::string line) {
        std::transform(line.begin(), line.end(), line.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        return std::any_of(words.begin(), words.end(), [&](const char *word) { return line.find(word) != std::string::npos; });
    });
}

ChipLook::ChipLook(Loop &loop, LogWriter &logs, Setting setting) : loop_(loop), logs_(logs), setting_(std::move(setting)) {
    setting_.spec.chips_since_s = uptime_s();
    setting_.spec.check.clear(); // the user's own is for before a training
}

void ChipLook::start(int generation) {
    if (generation_ == generation || setting_.spec.chips_per_node <= 0)
        return;
    kill();
    generation_ = generation;
    found_.clear();
    look_ = std::make_unique<NodePreflight>(
        loop_, logs_, NodePreflight::Setting{setting_.program, setting_.spec, [this](const PreflightResult &result) { done(result); }, setting_.limit});
    setting_.spec.chips_since_s = uptime_s(); // of the next one
    if (!look_->start())
        look_.reset(); // what can't be looked at is not known
}

void ChipLook::done(const PreflightResult &result) {
    for (const auto &fault : result.faults)
        if (told_.count(fault.text) == 0)
            found_.push_back({fault.fact, setting_.node, fault.text, {}, {}});
    setting_.on_done();
}

void ChipLook::child_ended(pid_t pid, int status) {
    if (look_)
        look_->child_ended(pid, status);
}

void ChipLook::kill() {
    if (look_)
        look_->kill();
}

void ChipLook::tell(Sight &sight) {
    if (sight.generation == 0 || sight.generation != generation_)
        return;
    sight.looking = look_ && look_->running();
    for (const auto &seen : found_)
        told_.insert(seen.text);
    sight.observations.insert(sight.observations.end(), found_.begin(), found_.end());
}

} // namespace trainctl
