#include "cluster/chips.h"
#include "experiment/parse.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("chips: the built-in file is whole") {
    CHECK(known_chips().size() >= 20);
    for (const auto &[name, chip] : known_chips()) {
        CAPTURE(name);
        CHECK((chip.vendor == "nvidia" || chip.vendor == "amd" || chip.vendor == "intel"));
        CHECK(chip.per_node >= 1);
        CHECK(chip.memory_mib >= 16 * 1024);
    }
    CHECK(known_chips().at("h100").memory_mib == 80 * 1024);
}

TEST_CASE("chips: gres") {
    CHECK(gres_for("h100", 8) == "gpu:h100:8");
    CHECK(gres_for("", 4) == "gpu:4");
    CHECK(gres_for("h100", 0) == "");
    CHECK(gres_for("tpu9", 2) == "gpu:tpu9:2");
}

TEST_CASE("chips: an unknown one is a warning, with the one that was meant") {
    const std::string text = "name: a\nresources: {nodes: 1, per_node: 8, chip: hh100}\nlaunch: {command: x}\n";
    const auto parsed = parse_experiment({text, "e.yaml", {}, {}, known_chip_names()});
    CHECK(parsed.text() == "");
    REQUIRE(parsed.warnings.size() == 1);
    CHECK(parsed.warnings[0].text() == "e.yaml:2:36: 'hh100' is no chip that trainctl knows: did you mean 'h100'?");
}
