#include "simulator/ledger.h"

#include <fmt/format.h>

namespace trainctl::sim {

std::string to_string(const SetKey &key) {
    return fmt::format("attempt {} job {}.{} generation {}", key.attempt, key.job, key.restarts, key.generation);
}

void Ledger::claim(const std::string &what) {
    constexpr std::size_t enough = 20;
    if (broken_.size() < enough)
        broken_.push_back(fmt::format("{:.3f}: {}", std::chrono::duration<double>(loop_.now().time_since_epoch()).count(), what));
}

void Ledger::alone(const SetKey &key, const char *does) {
    for (const auto &[other, count] : alive_)
        if (other != key)
            claim(fmt::format("two sets of ranks: {} {} while {} lives", to_string(key), does, to_string(other)));
}

void Ledger::started(const SetKey &key) {
    alone(key, "starts");
    if (run_over())
        claim("ranks start after the run had ended");
    if (!newest_ || *newest_ != key)
        ++starts;
    if (newest_ && (key.attempt < newest_->attempt || (key.attempt == newest_->attempt && key.job == newest_->job && key < *newest_)))
        claim(to_string(key) + " starts after " + to_string(*newest_));
    newest_ = key;
    ++alive_[key];
}

void Ledger::ended(const SetKey &key) {
    if (const auto at = alive_.find(key); at != alive_.end() && --at->second == 0)
        alive_.erase(at);
}

void Ledger::writes(const SetKey &key) { alone(key, "writes"); }

} // namespace trainctl::sim
