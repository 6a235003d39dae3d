// Why a run did what it did: its attempts and generations with the failure and the decision of each, from the journal, the
// outcomes and the verdicts. Nothing is changed by asking.
#include "desk/desk.h"

#include "failure/decide.h"
#include "failure/diagnosis_json.h"
#include "recovery/ruling.h"
#include "run/run_rules.h"

#include <algorithm>
#include <map>

namespace trainctl {

namespace {

// By the journal: what its head wrote of each generation. Generation 0 is what came before the first.
Json generations_of(const Journal &journal, AttemptNo no) {
    std::map<int, Json> found;
    const auto of = [&](const Event &event) -> Json & {
        const int number = event.data.value("generation", event.generation);
        auto &entry = found[number];
        entry["generation"] = number;
        return entry;
    };
    for (const auto &event : journal.events) {
        if (event.attempt != no.value)
            continue;
        if (event.name == "generation_started") {
            auto &entry = of(event) = event.data;
            entry["started"] = event.wall_ms / 1000;
        } else if (event.name == "generation_ended") {
            of(event)["ended"] = event.data;
        } else if (event.name == "failure") {
            of(event)["failure"] = event.data;
        }
    }
    Json list = Json::array();
    for (auto &[number, entry] : found)
        list.push_back(std::move(entry));
    return list;
}

// Of an attempt whose head could not judge it: Slurm's word alone.
Json by_slurm(const FailureBook &book, const Json &attempt) {
    const auto verdict = attempt.find("verdict");
    if (verdict == attempt.end() || !verdict->is_object() || verdict->value("slurm_state", "").empty() ||
        verdict->value("cause", "") == cause::finished || verdict->value("cause", "") == cause::standby_unneeded)
        return {};
    Evidence evidence;
    evidence.slurm = {verdict->value("slurm_state", ""), verdict->value("slurm_reason", ""), ""};
    const auto diagnosis = decide(book, evidence);
    if (diagnosis.failure_class == "none" || diagnosis.failure_class == "unknown")
        return {};
    auto failure = failure_of(diagnosis);
    failure.ruling = diagnosis.action == FailureAction::stop ? RulingKind::stop : RulingKind::hand_over;
    failure.reason = book.find_class(diagnosis.failure_class)->why;
    return to_json(failure);
}

// What a run that was stopped by a diagnosis would have used up: the tries that were left, each as long as the last one.
Json not_wasted(const LoadedRun &run, const Json &attempts) {
    if (attempts.empty() || attempts.back().value("generations", Json::array()).empty())
        return {};
    const auto &last = attempts.back().at("generations").back();
    const auto failure = last.find("failure");
    if (failure == last.end() || failure->value("ruling", "") != to_string(RulingKind::stop))
        return {};
    const auto outcome = attempts.back().value("outcome", Json::object());
    const int failures = outcome.is_object() ? std::max(1, outcome.value("failures", 1)) : 1;
    const int tries = std::max(0, run.experiment.recovery.no_progress_max - failures);
    double try_s = outcome.is_object() ? static_cast<double>(outcome.value("setup_s", 0)) : 0.0;
    if (const auto ended = last.find("ended"); ended != last.end())
        try_s += ended->value("trained_s", 0.0);
    const auto &resources = run.experiment.resources;
    const int chips = resources.nodes * resources.per_node;
    const int units = chips > 0 ? chips : resources.nodes;
    return {{"tries", tries}, {"try_s", try_s}, {"units", units}, {"unit", chips > 0 ? "GPU" : "node"},
            {"hours", tries * try_s * units / 3600}, {"limit", run.experiment.recovery.no_progress_max}};
}

Json own_rules(const RunRules &rules) {
    auto own = own_rules_json(rules.book);
    own["files"] = rules.files;
    own["problems"] = rules.problems;
    return own;
}

} // namespace

Result<Json> desk_explain(DeskCall &call) {
    const auto paths = run_of(call);
    if (!paths)
        return paths.error();
    const auto run = load_run(call.files, *paths);
    if (!run)
        return run.error();
    const auto rules = load_run_rules(call.files, *paths, run->experiment.recovery);
    const auto own = own_rules(rules);
    if (call.request.value("policy", false))
        return Json{{"format", 1}, {"run", paths->run.value}, {"classes", classes_json(rules.book)}, {"own_rules", own}};
    auto out = status_of(call, *paths, false);
    if (!out)
        return out;
    (*out)["own_rules"] = own;
    const auto journal = read_run_journal(call.files, *paths);
    for (auto &attempt : out->at("attempts")) {
        attempt["generations"] = generations_of(journal, AttemptNo{attempt.at("no").get<int>()});
        const bool judged = std::any_of(attempt["generations"].begin(), attempt["generations"].end(),
                                        [](const Json &generation) { return generation.contains("failure"); });
        if (auto failure = judged ? Json{} : by_slurm(rules.book, attempt); !failure.is_null())
            attempt["failure"] = std::move(failure);
    }
    auto ran = out->at("attempts");
    for (auto attempt = ran.begin(); attempt != ran.end();)
        attempt = attempt->at("generations").empty() ? ran.erase(attempt) : std::next(attempt);
    (*out)["not_wasted"] = not_wasted(*run, ran);
    return out;
}

} // namespace trainctl
