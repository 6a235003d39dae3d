#include "failure/clues.h"

#include "base/text.h"
#include "slurm/hostlist.h"
#include "slurm/states.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

namespace {

constexpr std::int64_t log_places = std::int64_t{1} << 40; // lines of one log
constexpr int oom_signal = 125;                            // SIG_OOM, as accounting shows it
constexpr int signal_exit = 128;                           // shells: 128 + signal

class Weighing {
public:
    Weighing(const FailureBook &book, const Evidence &evidence) : book_(book), evidence_(evidence) {}

    std::vector<WeighedClue> all() {
        for (std::size_t i = 0; i < evidence_.logs.size(); ++i)
            for (const auto &event : evidence_.logs[i].events)
                add_line(i, event);
        order_lines();
        add_observations();
        add_deaths();
        add_slurm();
        return std::move(clues_);
    }

private:
    void add_line(std::size_t log, const LogEvent &event) {
        const auto *rule = book_.find_rule(event.rule);
        if (rule == nullptr || event.count < rule->repeat)
            return;
        auto clue = clue_of(*rule, static_cast<std::int64_t>(log) * log_places + event.line);
        clue.log = log;
        clue.shown.source = evidence_.logs[log].file;
        clue.shown.line = event.line;
        clue.shown.count = event.count;
        clue.shown.text = event.text;
        if (event.at)
            clue.at = static_cast<double>(*event.at);
        clue.progress_before = event.progress_before;
        clue.progress_after = evidence_.logs[log].progress - event.progress_until;
        for (std::size_t i = 0; i < evidence_.logs.size(); ++i) // ranks and streams of one run make progress together
            clue.progress_before += i == log ? 0 : evidence_.logs[i].progress;
        clue.after_finish = event.after_finish;
        clue.node = event.host;
        clue.rank = event.rank;
        clues_.push_back(std::move(clue));
    }

    void order_lines() {
        const bool timed = evidence_.logs.size() > 1 && std::all_of(clues_.begin(), clues_.end(), [](const auto &clue) { return clue.at; });
        if (timed)
            for (auto &clue : clues_)
                clue.place = static_cast<std::int64_t>(*clue.at * 1024) * 1024 + std::min<std::int64_t>(clue.shown.line, 1023);
        std::stable_sort(clues_.begin(), clues_.end(), [](const auto &a, const auto &b) { return a.place < b.place; });
    }

    void add_observations() {
        auto seen = evidence_.observations;
        std::stable_sort(seen.begin(), seen.end(), [](const auto &a, const auto &b) { return a.at < b.at; });
        for (const auto &one : seen)
            add_fact("saw " + one.what, one.node.empty() ? "agent" : "agent on " + one.node, one.text, one.node, one.rank, one.at);
    }

    void add_deaths() {
        auto deaths = evidence_.deaths;
        std::stable_sort(deaths.begin(), deaths.end(), [](const auto &a, const auto &b) { return a.at.value_or(1e18) < b.at.value_or(1e18); });
        for (const auto &death : deaths) {
            if (death.signal == 0 && death.exit_code == 0)
                continue;
            const auto source = death.node.empty() ? fmt::format("rank {}", death.rank) : fmt::format("rank {} on {}", death.rank, death.node);
            add_end(death, source);
        }
    }

    void add_end(const RankDeath &death, const std::string &source) {
        const int signal = death.signal > 0 ? death.signal : death.exit_code > signal_exit ? death.exit_code - signal_exit : 0;
        const auto text = death.signal > 0 ? fmt::format("killed by signal {}", death.signal) : fmt::format("ended with exit code {}", death.exit_code);
        const auto rank = death.rank >= 0 ? std::optional{death.rank} : std::nullopt;
        if (!add_fact(fmt::format("exit {}", death.exit_code), source, text, death.node, rank, death.at))
            add_fact(signal > 0 ? fmt::format("signal {}", signal) : "exit", source, text, death.node, rank, death.at);
    }

    void add_slurm() {
        const auto &slurm = evidence_.slurm;
        const auto nodes = expand_hostlist(slurm.nodes);
        const auto node = nodes && nodes->size() == 1 ? nodes->front() : ""; // of several it may be any
        const auto words = split(read_state(slurm.state).text, ',');
        for (const auto &word : words)
            add_fact("slurm " + word, "slurm", "state " + slurm.state, node, {}, {});
        if (!slurm.reason.empty())
            add_fact("reason " + slurm.reason, "slurm", "reason " + slurm.reason, node, {}, {});
        if (slurm.exit_signal == oom_signal || slurm.step_signal == oom_signal)
            add_fact("reason OutOfMemory", "slurm", "exit code 0:125: the kernel killed for want of memory", node, {}, {});
        const bool failed = std::find(words.begin(), words.end(), "FAILED") != words.end();
        if (failed && (slurm.exit_code != 0 || slurm.exit_signal != 0))
            add_end({-1, "", slurm.exit_code, slurm.exit_signal, {}}, "slurm");
    }

    bool add_fact(const std::string &fact, const std::string &source, const std::string &text, const std::string &node,
                  const std::optional<int> &rank, const std::optional<double> &at) {
        const auto *rule = book_.find_fact(fact);
        if (rule == nullptr)
            return false;
        constexpr std::int64_t after_all_lines = std::int64_t{1} << 60;
        auto clue = clue_of(*rule, after_all_lines + static_cast<std::int64_t>(clues_.size()));
        clue.shown.source = source;
        clue.shown.text = text;
        clue.at = at;
        for (const auto &log : evidence_.logs)
            clue.progress_before += log.progress;
        clue.node = node;
        clue.rank = rank;
        clues_.push_back(std::move(clue));
        return true;
    }

    // A kill that looks like the kernel's for want of memory is none where an agent saw that there was none.
    const FailureClass *class_of(const FailureRule &rule) const {
        const bool guess = rule.certainty != Certainty::proof && rule.failure_class == "host-oom" &&
                           (rule.role == RuleRole::wrapper || rule.certainty == Certainty::weak);
        return book_.find_class(guess && evidence_.oom_kills == false ? "killed" : rule.failure_class);
    }

    WeighedClue clue_of(const FailureRule &rule, std::int64_t place) const {
        WeighedClue clue;
        clue.rule = &rule;
        clue.failure_class = class_of(rule);
        clue.place = place;
        clue.shown.rule = rule.name;
        clue.shown.failure_class = clue.failure_class->name;
        return clue;
    }

    const FailureBook &book_;
    const Evidence &evidence_;
    std::vector<WeighedClue> clues_;
};

} // namespace

std::vector<WeighedClue> weigh(const FailureBook &book, const Evidence &evidence) { return Weighing(book, evidence).all(); }

} // namespace trainctl
