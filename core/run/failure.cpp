#include "run/failure.h"

#include <algorithm>
#include <array>
#include <utility>

namespace trainctl {

namespace {

constexpr std::array<std::pair<const char *, RulingKind>, 3> rulings{
    {{"restart in place", RulingKind::restart_in_place}, {"hand over", RulingKind::hand_over}, {"stop", RulingKind::stop}}};

Json clue_json(const FailureClue &clue) {
    Json json{{"source", clue.source}, {"line", clue.line}, {"text", clue.text}, {"class", clue.failure_class}};
    if (!clue.why_not.empty())
        json["why_not"] = clue.why_not;
    return json;
}

Json clues_json(const std::vector<FailureClue> &clues) {
    Json json = Json::array();
    for (const auto &clue : clues)
        json.push_back(clue_json(clue));
    return json;
}

template <class T> void take(const Json &json, const char *key, T &into) {
    if (const auto at = json.find(key); at != json.end() && !at->is_null())
        at->get_to(into);
}

std::vector<FailureClue> clues_of(const Json &json, const char *key) {
    std::vector<FailureClue> clues;
    for (const auto &entry : json.value(key, Json::array())) {
        auto &clue = clues.emplace_back();
        take(entry, "source", clue.source), take(entry, "line", clue.line), take(entry, "text", clue.text);
        take(entry, "class", clue.failure_class), take(entry, "why_not", clue.why_not);
    }
    return clues;
}

} // namespace

const char *to_string(RulingKind kind) {
    return std::find_if(rulings.begin(), rulings.end(), [&](const auto &row) { return row.second == kind; })->first;
}

Json to_json(const Failure &failure) {
    Json suspects = Json::array();
    for (const auto &suspect : failure.suspects)
        suspects.push_back({{"node", suspect.node}, {"rank", suspect.rank}, {"why", suspect.why}, {"proven", suspect.proven}});
    return {{"class", failure.failure_class}, {"what", failure.what}, {"hint", failure.hint}, {"confidence", failure.confidence},
            {"evidence", clues_json(failure.evidence)}, {"rejected", clues_json(failure.rejected)}, {"suspects", suspects},
            {"action", failure.action}, {"restart", failure.restart}, {"sign", failure.sign}, {"step", failure.step ? Json(*failure.step) : Json{}},
            {"attempt", failure.attempt}, {"generation", failure.generation}, {"when", failure.when}, {"lost_s", failure.lost_s},
            {"ruling", to_string(failure.ruling)}, {"reason", failure.reason}, {"avoid", failure.avoid},
            {"roll_back", failure.roll_back}, {"wait_s", failure.wait_s}};
}

Failure failure_from_json(const Json &json) {
    Failure failure;
    take(json, "class", failure.failure_class), take(json, "what", failure.what), take(json, "hint", failure.hint);
    take(json, "confidence", failure.confidence);
    failure.evidence = clues_of(json, "evidence");
    failure.rejected = clues_of(json, "rejected");
    for (const auto &entry : json.value("suspects", Json::array())) {
        auto &suspect = failure.suspects.emplace_back();
        take(entry, "node", suspect.node), take(entry, "rank", suspect.rank), take(entry, "why", suspect.why);
        take(entry, "proven", suspect.proven);
    }
    take(json, "action", failure.action), take(json, "restart", failure.restart), take(json, "sign", failure.sign);
    if (const auto step = json.find("step"); step != json.end() && !step->is_null())
        failure.step = step->get<std::int64_t>();
    take(json, "attempt", failure.attempt), take(json, "generation", failure.generation);
    take(json, "when", failure.when), take(json, "lost_s", failure.lost_s);
    const auto word = json.value("ruling", std::string{to_string(failure.ruling)});
    for (const auto &[name, kind] : rulings)
        if (word == name)
            failure.ruling = kind;
    take(json, "reason", failure.reason), take(json, "avoid", failure.avoid);
    take(json, "roll_back", failure.roll_back), take(json, "wait_s", failure.wait_s);
    return failure;
}

} // namespace trainctl
