#include "failure/rule_entry.h"

#include "base/text.h"
#include "experiment/values.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl {

void RuleEntry::text(const char *key, std::string &into, const std::function<std::string(const std::string &)> &wrong) {
    const auto *value = take(key, YamlNode::Kind::scalar);
    if (value == nullptr)
        return;
    if (const auto words = wrong ? wrong(value->text) : ""; !words.empty())
        problem_at(value->at, words);
    into = value->text;
}

void RuleEntry::texts(const char *key, std::vector<std::string> &into) {
    const auto *value = take(key, YamlNode::Kind::list);
    if (value == nullptr)
        return;
    into.clear();
    for (const auto &item : value->items)
        into.push_back(item.text);
}

void RuleEntry::number(const char *key, std::int64_t &into, std::int64_t least, std::int64_t most) {
    const auto *value = take(key, YamlNode::Kind::scalar);
    if (value == nullptr)
        return;
    const auto parsed = parse_integer(value->text);
    if (!parsed || *parsed < least || *parsed > most)
        return problem_at(value->at, fmt::format("'{}' must be a whole number from {} to {}", key, least, most));
    into = *parsed;
}

void RuleEntry::number(const char *key, int &into, std::int64_t least, std::int64_t most) {
    std::int64_t value = into;
    number(key, value, least, most);
    into = static_cast<int>(value);
}

void RuleEntry::flag(const char *key, bool &into) {
    const auto index = choice_of(key, {"false", "true"});
    if (index)
        into = *index == 1;
}

std::optional<std::size_t> RuleEntry::choice_of(const char *key, const std::vector<std::string_view> &names) {
    const auto *value = take(key, YamlNode::Kind::scalar);
    if (value == nullptr)
        return std::nullopt;
    const auto at = std::find(names.begin(), names.end(), value->text);
    if (at != names.end())
        return static_cast<std::size_t>(at - names.begin());
    problem_at(value->at, fmt::format("'{}' can't be '{}': one of {}", key, value->text,
                                      join(std::vector<std::string>(names.begin(), names.end()), ", ")));
    return std::nullopt;
}

void RuleEntry::no_others() {
    for (const auto &entry : node_.entries)
        if (std::find(taken_.begin(), taken_.end(), entry.key) == taken_.end()) {
            const auto meant = did_you_mean(entry.key, taken_);
            problem_at(entry.key_at, fmt::format("there is no key '{}' here{}", entry.key,
                                                 meant.empty() ? "" : "; did you mean '" + meant + "'?"));
        }
}

const YamlNode *RuleEntry::take(const char *key, YamlNode::Kind kind) {
    taken_.emplace_back(key);
    const auto *entry = node_.find(key);
    if (entry == nullptr)
        return nullptr;
    if (entry->value.kind == kind)
        return &entry->value;
    problem_at(entry->value.at, fmt::format("'{}' can't be {}", key, entry->value.kind_text()));
    return nullptr;
}

void RuleEntry::problem_at(const Position &at, const std::string &text) {
    problems_.push_back(fmt::format("{}:{}:{}: {}", file_, at.line, at.col, text));
}

} // namespace trainctl
