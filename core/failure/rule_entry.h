// One map of a file of rules, read key by key; what is wrong is kept with its place. Pure.
#pragma once

#include "experiment/yaml_tree.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trainctl {

template <class T> using RuleWords = std::vector<std::pair<std::string_view, T>>;

// Each reader leaves `into` as it is where the key is not given or is wrong.
class RuleEntry {
public:
    RuleEntry(const YamlNode &node, const std::string &file, std::vector<std::string> &problems)
        : node_(node), file_(file), problems_(problems) {}

    // `wrong` says what is wrong with the text, or ""; `into` gets it all the same.
    void text(const char *key, std::string &into, const std::function<std::string(const std::string &)> &wrong = {});
    void texts(const char *key, std::vector<std::string> &into);
    void number(const char *key, std::int64_t &into, std::int64_t least, std::int64_t most);
    void number(const char *key, int &into, std::int64_t least, std::int64_t most);
    // "null" is nothing.
    template <class T> void number(const char *key, std::optional<T> &into, std::int64_t least, std::int64_t most) {
        const auto *entry = node_.find(key);
        if (entry != nullptr && (entry->value.text == "null" || entry->value.kind == YamlNode::Kind::null)) {
            taken_.emplace_back(key);
            into.reset();
            return;
        }
        T value = into.value_or(T{});
        number(key, value, least, most);
        if (entry != nullptr)
            into = value;
    }
    void flag(const char *key, bool &into);
    template <class T> void choice(const char *key, const RuleWords<T> &words, T &into) {
        std::vector<std::string_view> names;
        for (const auto &word : words)
            names.push_back(word.first);
        if (const auto index = choice_of(key, names))
            into = words[*index].second;
    }
    template <class T> void choice(const char *key, const RuleWords<T> &words, std::optional<T> &into) {
        T value = into.value_or(T{});
        const bool given = node_.find(key) != nullptr;
        choice(key, words, value);
        if (given)
            into = value;
    }
    void problem(const std::string &text) { problem_at(node_.at, text); }
    void no_others();

private:
    const YamlNode *take(const char *key, YamlNode::Kind kind);
    std::optional<std::size_t> choice_of(const char *key, const std::vector<std::string_view> &names);
    void problem_at(const Position &at, const std::string &text);

    const YamlNode &node_;
    const std::string &file_;
    std::vector<std::string> &problems_;
    std::vector<std::string> taken_;
};

} // namespace trainctl
