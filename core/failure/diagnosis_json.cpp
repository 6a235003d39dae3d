#include "failure/diagnosis_json.h"

namespace trainctl {

namespace {

Json clue_json(const Clue &clue) {
    Json out{{"rule", clue.rule}, {"class", clue.failure_class}, {"source", clue.source}, {"text", clue.text}};
    if (clue.line > 0)
        out["line"] = clue.line;
    if (clue.count > 1)
        out["count"] = clue.count;
    return out;
}

} // namespace

Json to_json(const Diagnosis &diagnosis) {
    Json evidence = Json::array(), suspects = Json::array(), rejected = Json::array();
    for (const auto &clue : diagnosis.evidence)
        evidence.push_back(clue_json(clue));
    for (const auto &one : diagnosis.suspects) {
        Json suspect{{"why", one.why}, {"proven", one.proven}, {"times_before", one.times_before}};
        if (!one.node.empty())
            suspect["node"] = one.node;
        if (one.rank)
            suspect["rank"] = *one.rank;
        suspects.push_back(std::move(suspect));
    }
    for (const auto &one : diagnosis.rejected) {
        rejected.push_back(clue_json(one.clue));
        rejected.back()["why"] = one.why;
    }
    return {{"class", diagnosis.failure_class}, {"what", diagnosis.what}, {"confidence", diagnosis.confidence},
            {"action", to_string(diagnosis.action)}, {"restart", to_string(diagnosis.restart)}, {"hint", diagnosis.hint},
            {"made_progress", diagnosis.made_progress}, {"evidence", std::move(evidence)},
            {"suspects", std::move(suspects)}, {"rejected", std::move(rejected)}};
}

Json to_json(const LogFindings &findings) {
    return {{"file", findings.file}, {"bytes", findings.bytes}, {"lines", findings.lines},
            {"matched_lines", findings.matched_lines}, {"progress_lines", findings.progress},
            {"events_not_kept", findings.dropped_events}, {"lines_matched_one_by_one", findings.slow_lines}};
}

Json classes_json(const FailureBook &book) {
    Json out = Json::array();
    for (const auto &one : book.classes) {
        out.push_back({{"class", one.name}, {"group", one.group}, {"what", one.what}, {"action", to_string(one.action)},
                       {"restart", to_string(one.restart)}, {"free", one.free}, {"why", one.why}, {"causes", one.causes}});
        out.back()["budget"] = one.budget ? Json(*one.budget) : Json();
    }
    return out;
}

Json own_rules_json(const FailureBook &book) {
    Json rules = Json::array(), classes = Json::array();
    for (const auto &rule : book.rules) {
        const auto *builtin = builtin_failures().find_rule(rule.name);
        if (builtin != nullptr && *builtin == rule)
            continue;
        rules.push_back({{"name", rule.name}, {"class", rule.failure_class}, {"pattern", rule.pattern}, {"fact", rule.fact},
                         {"hint", rule.hint}, {"changed", builtin != nullptr}});
    }
    for (const auto &one : book.classes) {
        const auto *builtin = builtin_failures().find_class(one.name);
        if (builtin == nullptr || *builtin != one)
            classes.push_back(one.name);
    }
    return {{"rules", std::move(rules)}, {"classes", std::move(classes)}};
}

} // namespace trainctl
