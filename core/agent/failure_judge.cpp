#include "agent/failure_judge.h"

#include "base/text.h"
#include "failure/decide.h"
#include "failure/log_scan.h"
#include "recovery/node_memory.h"
#include "recovery/ruling.h"
#include "script/options.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <random>
#include <set>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// Training stands still meanwhile. Of a log that is longer its end is read.
constexpr std::size_t most_logs = 64;
constexpr std::uint64_t most_bytes_of_a_log = 64u << 20;
constexpr Duration reading_limit = 10s;
constexpr std::size_t block_bytes = 1u << 20;
constexpr std::chrono::seconds longest_doubt = 24h;
constexpr double longest_echo_s = 60; // a loader's queue, and a few beats
constexpr Duration room_patience = 30s, look_again = 500ms; // for whoever filled a disk to notice

Instant now() { return std::chrono::steady_clock::now(); }
std::int64_t wall_now() { return unix_seconds(std::chrono::system_clock::now()); }

// From byte `begin`, or from further on where that is too much; nothing where it can't be read. `end` is where it stopped.
std::optional<LogFindings> scan_file(RuleMatcher &matcher, const std::string &path, const std::string &shown, std::uint64_t begin,
                                     Instant deadline, std::uint64_t &end) {
    std::ifstream file{path, std::ios::binary | std::ios::ate};
    if (!file)
        return std::nullopt;
    const auto size = static_cast<std::uint64_t>(file.tellg());
    begin = std::max(std::min(begin, size), size - std::min(size, most_bytes_of_a_log));
    file.seekg(static_cast<std::streamoff>(begin));
    LogScan scan{matcher, shown};
    std::string block(block_bytes, '\0');
    for (end = begin; now() < deadline && file; end += static_cast<std::uint64_t>(file.gcount())) {
        file.read(block.data(), static_cast<std::streamsize>(block.size()));
        scan.feed(std::string_view{block}.substr(0, static_cast<std::size_t>(file.gcount())));
    }
    return scan.finish();
}

// The training went on for longer after it than news of its last step may have been on their way.
bool outlived(const Observation &seen, const FailureFacts &facts) {
    return seen.at && facts.stepped_s && *facts.stepped_s - *seen.at > longest_echo_s;
}

// False where all nodes could look, and none saw one.
std::optional<bool> seen_oom_kills(const FailureFacts &facts) {
    std::set<std::string> without;
    for (const auto &sight : facts.sights) {
        const auto kill = std::find_if(sight.observations.begin(), sight.observations.end(), [](const auto &seen) { return seen.what == "oom-kill"; });
        if (kill != sight.observations.end() && !outlived(*kill, facts))
            return true;
        if (sight.oom_kills == 0)
            without.insert(sight.node);
    }
    const bool all = std::all_of(facts.nodes.begin(), facts.nodes.end(), [&](const auto &node) { return without.count(node) != 0; });
    return all && !facts.nodes.empty() ? std::optional{false} : std::nullopt;
}

// A node's own log says of itself what it says; lines that blame another one name it.
void name_node(const FailureBook &book, const std::string &node, LogFindings &found) {
    for (auto &event : found.events) {
        const auto *rule = book.find_rule(event.rule);
        if (event.host.empty() && rule != nullptr && (rule->suspects == Suspect::node || rule->suspects == Suspect::rank))
            event.host = node;
    }
}

// Of those nodes whose ranks ended first, before those that were lost, before rank 0's.
std::vector<std::string> nodes_by_interest(const FailureFacts &facts) {
    auto exits = facts.exits;
    std::stable_sort(exits.begin(), exits.end(), [](const auto &a, const auto &b) { return a.at_s < b.at_s; });
    std::vector<std::string> nodes;
    const auto add = [&](const std::string &node) {
        if (!node.empty() && nodes.size() < most_logs && std::find(nodes.begin(), nodes.end(), node) == nodes.end())
            nodes.push_back(node);
    };
    if (facts.first)
        add(facts.first->node);
    for (const auto &exit : exits)
        add(exit.node);
    for (const auto &node : facts.lost_nodes)
        add(node);
    for (const auto &node : facts.nodes)
        add(node);
    return nodes;
}

} // namespace

FailureJudge::FailureJudge(Files &files, Setting setting) : files_(files), setting_(std::move(setting)) {}
FailureJudge::~FailureJudge() = default;

void FailureJudge::prepare() {
    if (!matcher_)
        matcher_ = std::make_unique<RuleMatcher>(setting_.book);
}

std::vector<LogFindings> FailureJudge::scan_logs(const FailureFacts &facts) {
    prepare();
    const Instant deadline = now() + reading_limit;
    std::vector<LogFindings> logs;
    std::uint64_t end = 0;
    for (const auto &node : nodes_by_interest(facts)) {
        const auto name = fmt::format("logs/g{:02}/{}.log", facts.generation, node);
        if (auto found = scan_file(*matcher_, setting_.paths.attempt_file(setting_.attempt, name), name, 0, deadline, end)) {
            name_node(setting_.book, node, *found);
            logs.push_back(std::move(*found));
        }
    }
    const auto batch = std::string{"logs/"} + batch_log;
    if (auto found = scan_file(*matcher_, setting_.paths.attempt_file(setting_.attempt, batch), batch, batch_read_, deadline, end)) {
        logs.push_back(std::move(*found));
        batch_read_ = end;
    }
    if (facts.kind == OutcomeKind::setup_failed)
        logs.push_back(scan_text("the setup", {facts.text}));
    return logs;
}

LogFindings FailureJudge::scan_text(const std::string &shown, const std::vector<std::string> &lines) {
    LogScan scan{*matcher_, shown};
    for (const auto &line : lines)
        scan.feed(line + "\n");
    return scan.finish();
}

Evidence FailureJudge::evidence_of(const FailureFacts &facts) {
    Evidence evidence;
    evidence.logs = scan_logs(facts);
    for (const auto &exit : facts.exits)
        if (exit.exit_code != 0 || exit.signal != 0)
            evidence.deaths.push_back({exit.rank, exit.node, exit.exit_code, exit.signal, exit.at_s});
    if (facts.kind == OutcomeKind::hang)
        evidence.observations.push_back({"stall", "", facts.text, {}, {}});
    if (facts.kind == OutcomeKind::node_lost)
        for (const auto &node : facts.lost_nodes)
            evidence.observations.push_back({"node-lost", node, facts.text, {}, {}});
    evidence.oom_kills = seen_oom_kills(facts);
    for (const auto &sight : facts.sights)
        for (const auto &seen : sight.observations)
            if (!outlived(seen, facts))
                evidence.observations.push_back(seen);
    for (const auto &failure : facts.earlier) {
        auto &earlier = evidence.earlier.emplace_back();
        earlier.failure_class = failure.failure_class;
        for (const auto &suspect : failure.suspects)
            if (!suspect.node.empty())
                earlier.suspect_nodes.push_back(suspect.node);
    }
    return evidence;
}

Diagnosis FailureJudge::diagnose(const FailureFacts &facts) {
    auto evidence = evidence_of(facts);
    auto found = decide(setting_.book, evidence);
    const bool says_nothing = found.evidence.empty() || found.evidence.front().line == 0;
    // Agents tell the last lines as well: a full disk may have kept them from the logs.
    if (says_nothing && facts.first && !facts.first->last_lines.empty()) {
        evidence.logs.push_back(scan_text(fmt::format("the last lines of rank {}", facts.first->rank), facts.first->last_lines));
        found = decide(setting_.book, evidence);
    }
    // No restart mends a full disk, but whoever filled it may make room.
    if (found.failure_class == "storage-full" && has_room_again()) {
        found.action = FailureAction::retry_once;
        found.restart = RestartKind::transient;
        found.hint = "There is room again. " + found.hint;
    }
    return found;
}

bool FailureJudge::has_room_again() const {
    const auto enough = static_cast<std::uint64_t>(std::max<std::int64_t>(1, setting_.min_free_mib)) << 20;
    const auto has_room = [&](const std::string &folder) {
        std::error_code failed;
        const auto space = std::filesystem::space(folder, failed);
        return failed || space.available >= enough; // of a folder that is not there nothing is known
    };
    SystemClock clock;
    for (const Instant end = clock.now() + room_patience; clock.now() < end; clock.sleep_for(look_again))
        if (has_room(setting_.paths.dir()) && has_room(setting_.checkpoint_dir))
            return true;
    return false;
}

Failure FailureJudge::judge(const FailureFacts &facts, const std::optional<CheckpointSeen> &newest) {
    Failure failure = failure_of(diagnose(facts));
    failure.step = facts.step;
    failure.attempt = setting_.attempt.value;
    failure.generation = facts.generation;
    failure.when = wall_now();
    RulingFacts ruling;
    std::random_device random;
    if (!newest || (facts.newest_before && newest->step <= *facts.newest_before))
        ruling.earlier = facts.earlier;
    // Where a run has one node alone, whatever fails there names it: only others can say that it is the node.
    const bool could_be_another = facts.nodes.size() != 1;
    bool noted = false; // by this run
    if (auto notes = remembered_nodes(files_, setting_.paths.root, failure.when)) {
        ruling.avoided = static_cast<int>(nodes_to_avoid(*notes, setting_.recovery.avoid_max).size());
        if (!could_be_another)
            noted = std::erase_if(*notes, [&](const auto &note) { return note.run == setting_.paths.run.value && note.node == facts.nodes.front(); }) > 0;
        ruling.named_before = times_named(*notes);
    }
    // In this run since its newest checkpoint, where nothing is remembered for long.
    std::map<std::string, int> here;
    for (const auto &earlier : facts.earlier)
        for (const auto &suspect : earlier.suspects)
            ++here[suspect.node];
    for (const auto &[node, times] : here)
        if (could_be_another)
            ruling.named_before[node] = std::max(ruling.named_before[node], times);
    ruling.chance = std::uniform_real_distribution<double>{}(random);
    rule_on(setting_.book, setting_.recovery, ruling, failure);
    const bool proven = std::any_of(failure.suspects.begin(), failure.suspects.end(), [](const auto &suspect) { return suspect.proven; });
    if (!facts.drilled && (!noted || proven))
        remember(failure);
    return failure;
}

// Suspicions, too: the second one counts, whichever run it was in.
void FailureJudge::remember(const Failure &failure) {
    if (failure.restart == to_string(RestartKind::deterministic))
        return;
    for (const auto &suspect : failure.suspects) {
        const auto length = suspect.proven ? setting_.recovery.avoid_for : std::min(setting_.recovery.avoid_for, longest_doubt);
        NodeNote note{suspect.node, setting_.paths.run.value, failure.attempt, failure.generation, suspect.proven, failure.when + length.count(),
                      failure.failure_class, suspect.why, failure.when};
        notes_.add([root = setting_.paths.root, note, now = failure.when] {
            PosixFiles files;
            (void)remember_node(files, root, note, now).ok(); // a memory that is lost costs one more failure
        });
    }
}

} // namespace trainctl
