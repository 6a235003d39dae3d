#include "report/attempts.h"

#include "base/text.h"
#include "report/terminal_text.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fmt/format.h>

namespace trainctl {

namespace {

std::string signal_name(std::int64_t signal) {
    const char *name = signal > 0 && signal < NSIG ? ::sigabbrev_np(static_cast<int>(signal)) : nullptr;
    return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

std::optional<FirstDeath> setup_death(const Json &setup) {
    if (!setup.is_object())
        return std::nullopt;
    FirstDeath death{"the setup failed on " + clean_text(setup, "node"), {}};
    for (const auto &line : items_of(setup, "last_lines"))
        death.last_lines.push_back(clean(line.is_string() ? line.get<std::string>() : dump_json(line)));
    return death;
}

std::optional<FirstDeath> death_of(const Json &outcome) {
    const Json &first = member(outcome, "first");
    if (!first.is_object() || text_of(outcome, "kind") == "finished")
        return std::nullopt;
    FirstDeath death;
    const auto rank = integer_of(first, "rank"), code = integer_of(first, "exit_code"), signal = integer_of(first, "signal");
    const auto node = clean_text(first, "node");
    death.what = fmt::format("{}{} {}", rank && *rank >= 0 ? fmt::format("rank {}", *rank) : "a rank", node.empty() ? "" : " on " + node,
                             signal.value_or(0) != 0 ? "was killed by " + signal_name(*signal) : fmt::format("exited with code {}", code.value_or(0)));
    if (const auto at = number_of(first, "at_s"); at && *at >= 0 && *at < 1e9)
        death.what += *at < 60 ? fmt::format(", {:.1f} s after its start", *at) : fmt::format(", {} after its start", seconds_text(std::llround(*at)));
    for (const auto &line : items_of(first, "last_lines"))
        death.last_lines.push_back(clean(line.is_string() ? line.get<std::string>() : dump_json(line)));
    return death;
}

// The job that owns the attempt, else the newest that Slurm knows.
Json job_of(const Json &attempt) {
    const auto jobs = items_of(attempt, "jobs");
    const auto owner = integer_of(member(attempt, "owner"), "job");
    for (const auto &job : jobs)
        if (owner && integer_of(job, "id") == owner)
            return job;
    return jobs.empty() ? Json{} : jobs.back();
}

std::string nodes_of(const Json &attempt, const Json &job) {
    if (auto nodes = clean_text(job, "nodes"); !nodes.empty())
        return nodes;
    if (const auto count = integer_of(member(attempt, "progress"), "nodes"); count && *count > 0)
        return counted(*count, "node");
    return clean_text(member(attempt, "owner"), "host");
}

std::string words(std::string text) {
    std::replace(text.begin(), text.end(), '_', ' ');
    return text;
}

// "cause: text", less what would be said twice.
std::string end_text(const std::string &cause, const std::string &text) {
    if (text.empty() || cause == "finished")
        return cause;
    if (cause.empty() || text.find(cause) != std::string::npos)
        return text;
    if (cause == "rank failed" && starts_with(text, "rank "))
        return text;
    return cause + ": " + text;
}

std::string job_state(const Json &job, const AttemptFacts &facts) {
    const auto phase = text_of(job, "phase");
    const auto reason = clean_text(job, "reason");
    const Json &problem = member(job, "problem");
    if (phase == "pending") {
        if (is_true(problem, "never"))
            return "can never start: " + clean_text(problem, "why");
        if (facts.standby)
            return fmt::format("standby: starts if attempt {} ends badly", facts.no - 1);
        return reason.empty() || reason == "None" ? "waits in the queue" : fmt::format("waits in the queue ({})", reason);
    }
    if (phase == "running")
        return "starting";
    if (phase == "ended" && facts.standby)
        return "standby, not needed";
    if (phase == "ended")
        return fmt::format("ended in Slurm: {}", clean_text(job, "state"));
    return "unknown to Slurm at the moment";
}

// How often training was started again inside the job.
std::string restarts_text(std::int64_t generations) {
    return generations > 1 ? ", after " + counted(generations - 1, "restart") + " in place" : "";
}

// Of an attempt that is not over.
std::string live_state(const AttemptFacts &facts) {
    const auto phase = text_of(facts.job_record, "phase");
    const auto doing = clean_text(facts.progress, "phase");
    if (phase == "ended")
        return job_state(facts.job_record, facts);
    if (facts.claimed)
        return (doing.empty() ? "starting" : doing) + restarts_text(integer_of(facts.progress, "generation").value_or(0));
    if (facts.job_record.is_null())
        return facts.standby ? "standby; not in Slurm now" : "no job of it in Slurm now";
    return job_state(facts.job_record, facts);
}

void read_times(const Json &attempt, std::int64_t now, AttemptFacts &facts) {
    const Json &outcome = member(attempt, "outcome");
    facts.began = integer_of(member(attempt, "owner"), "made");
    facts.ended = integer_of(outcome, "written");
    facts.heard_s = integer_of(facts.progress, "age_s");
    facts.trained_s = integer_of(outcome, "training_s");
    const auto since = integer_of(facts.progress, "training_since");
    if (!facts.trained_s && since && *since > 0)
        facts.trained_s = std::max(std::int64_t{0}, (facts.over ? integer_of(facts.progress, "written").value_or(now) : now) - *since);
}

void read_steps(const Json &attempt, AttemptFacts &facts) {
    const Json &outcome = member(attempt, "outcome");
    const auto either = [&](const char *key, const char *other) {
        const auto value = integer_of(outcome, key);
        return value ? value : integer_of(facts.progress, other);
    };
    // Of the attempt's first generation, where that is known.
    facts.from_step = outcome.is_object() ? integer_of(outcome, "resumed_step") : integer_of(facts.progress, "resumed_step");
    facts.to_step = either("last_step", "step");
    facts.checkpoint_step = either("checkpoint_step", "checkpoint_step");
}

AttemptFacts facts_of(const Json &attempt, std::int64_t now) {
    AttemptFacts facts;
    const Json &outcome = member(attempt, "outcome"), &verdict = member(attempt, "verdict");
    facts.no = integer_of(attempt, "no").value_or(0);
    facts.job_record = job_of(attempt);
    facts.progress = member(attempt, "progress");
    facts.claimed = member(attempt, "owner").is_object();
    facts.job = integer_of(member(attempt, "owner"), "job");
    if (!facts.job)
        facts.job = integer_of(facts.job_record, "id");
    facts.nodes = nodes_of(attempt, facts.job_record);
    const bool rejected = member(attempt, "rejected").is_string();
    facts.over = outcome.is_object() || verdict.is_object() || rejected;
    facts.standby = is_true(attempt, "standby") && !facts.over && !facts.claimed;
    facts.death = death_of(outcome);
    if (!facts.death)
        facts.death = setup_death(member(attempt, "setup"));
    read_times(attempt, now, facts);
    read_steps(attempt, facts);
    if (verdict.is_object() || outcome.is_object()) {
        facts.cause = verdict.is_object() ? clean_text(verdict, "cause") : words(clean_text(outcome, "kind"));
        const auto text = clean_text(verdict, "text");
        facts.state = end_text(facts.cause, text.empty() ? clean_text(outcome, "text") : text) +
                      restarts_text(integer_of(outcome, "generations").value_or(0));
    } else if (rejected) {
        facts.cause = "rejected";
        facts.state = "sbatch refused it: " + clean_text(attempt, "rejected");
    } else {
        facts.state = live_state(facts);
        if (const auto since = integer_of(attempt, "unknown_since"); since && *since > 0)
            facts.state += ", known " + ago(since, now);
    }
    return facts;
}

} // namespace

std::vector<AttemptFacts> attempts_of(const Json &status) {
    std::vector<AttemptFacts> all;
    const auto now = integer_of(status, "now").value_or(0);
    for (const auto &attempt : items_of(status, "attempts"))
        all.push_back(facts_of(attempt, now));
    return all;
}

const AttemptFacts *current_attempt(const std::vector<AttemptFacts> &attempts) {
    const auto claimed = std::find_if(attempts.rbegin(), attempts.rend(), [](const auto &attempt) { return attempt.claimed; });
    const auto live = std::find_if(attempts.rbegin(), attempts.rend(), [](const auto &attempt) { return !attempt.over && !attempt.standby; });
    // A job that waits counts only when nobody trains: the standby's state is that of the one before it.
    if (claimed != attempts.rend() && (!claimed->over || live == attempts.rend()))
        return &*claimed;
    if (live != attempts.rend())
        return &*live;
    return attempts.empty() ? nullptr : &attempts.back();
}

std::string quoted_lines(const std::vector<std::string> &lines, std::size_t limit, std::size_t indent, const ReportStyle &style) {
    std::string out;
    const std::size_t left_out = lines.size() > limit ? lines.size() - limit : 0;
    const auto add = [&](const std::string &text) {
        out += std::string(indent, ' ') + paint("| ", Paint::faint, style) + cut(text, usable_width(style) - indent - 2) + "\n";
    };
    if (left_out > 0)
        add(fmt::format("… {} before these", counted(static_cast<std::int64_t>(left_out), "line")));
    for (std::size_t i = left_out; i < lines.size(); ++i)
        add(lines[i]);
    return out;
}

} // namespace trainctl
