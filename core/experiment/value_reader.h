// Reads one key's value as its row of the table says. Pure.
#pragma once

#include "experiment/key_spec.h"
#include "experiment/yaml_tree.h"

#include <optional>
#include <string>
#include <vector>

namespace trainctl {

class ValueReader {
public:
    ValueReader(const KeySpec &key, const Environment &environment, std::vector<Finding> &findings)
        : key_(key), environment_(environment), findings_(findings) {}

    // The entry's value is not null. Every problem becomes a finding; the value counts only if there was none.
    std::optional<Value> read(const YamlEntry &entry);

private:
    void add(const Position &at, std::string message);
    bool lines_allowed() const;
    std::string bad_characters(const std::string &text) const;
    bool is_scalar(const YamlNode &node, const std::string &wanted);
    std::optional<std::string> plain_text(const YamlNode &node, const std::string &what);
    std::optional<std::string> resolved(const Position &at, const std::string &text, const std::string &what);
    bool passes(const Position &at, const std::string &text, const std::string &what);
    std::optional<Value> text(const YamlNode &node);
    std::string limit_text(std::int64_t limit) const;
    Result<std::int64_t> parse_number(const YamlNode &node) const;
    std::optional<Value> number(const YamlNode &node);
    std::optional<Value> choice(const YamlNode &node);
    std::optional<std::string> item(const YamlNode &node, std::size_t place);
    std::optional<Value> list(const YamlNode &node);
    std::optional<Value> options(const YamlNode &node);
    std::optional<Value> map(const YamlNode &node);
    std::optional<Value> command(const YamlNode &node);

    const KeySpec &key_;
    const Environment &environment_;
    std::vector<Finding> &findings_;
    Position key_at_;
};

} // namespace trainctl
