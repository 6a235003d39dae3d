#include "cluster/chips.h"

#include "base/invariant.h"
#include "builtin_data.h"
#include "experiment/values.h"
#include "experiment/yaml_tree.h"

#include <fmt/format.h>

namespace trainctl {

namespace {

Chip read_chip(const YamlNode &node) {
    Chip chip;
    for (const auto &[key, at, value] : node.entries) {
        if (key == "vendor")
            chip.vendor = value.text;
        else if (key == "gres")
            chip.gres = value.text;
        else if (key == "type")
            chip.type = value.text;
        else if (key == "per_node")
            chip.per_node = static_cast<int>(parse_integer(value.text).value());
        else if (key == "memory")
            chip.memory_mib = parse_size_mib(value.text).value();
        else
            INVARIANT(false);
    }
    INVARIANT(!chip.vendor.empty() && !chip.type.empty());
    return chip;
}

} // namespace

const std::map<std::string, Chip> &known_chips() {
    static const std::map<std::string, Chip> chips = [] {
        const YamlTree tree = parse_yaml(builtin_data("chips.yaml"));
        INVARIANT(tree.complete && tree.findings.empty());
        const YamlEntry *list = tree.root.find("chips");
        INVARIANT(list != nullptr);
        std::map<std::string, Chip> all;
        for (const auto &entry : list->value.entries)
            all[entry.key] = read_chip(entry.value);
        return all;
    }();
    return chips;
}

std::vector<std::string> known_chip_names() {
    std::vector<std::string> names;
    for (const auto &[name, chip] : known_chips())
        names.push_back(name);
    return names;
}

std::string gres_for(const std::string &chip, int per_node) {
    if (per_node <= 0)
        return "";
    if (chip.empty())
        return fmt::format("gpu:{}", per_node);
    const auto known = known_chips().find(chip);
    if (known == known_chips().end())
        return fmt::format("gpu:{}:{}", chip, per_node);
    return fmt::format("{}:{}:{}", known->second.gres, known->second.type, per_node);
}

} // namespace trainctl
