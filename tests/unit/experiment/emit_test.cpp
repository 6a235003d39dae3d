#include "experiment/parse.h"

#include "base/files.h"
#include "base/text.h"
#include "experiment/checks.h"
#include "experiment/keys.h"
#include "experiment/placeholders.h"
#include "experiment/values.h"

#include <chrono>
#include <doctest/doctest.h>
#include <random>

using namespace trainctl;

namespace {

class Dice {
public:
    explicit Dice(unsigned seed) : random_(seed) {}
    std::int64_t number(std::int64_t from, std::int64_t to) {
        return std::uniform_int_distribution<std::int64_t>(from, to)(random_);
    }
    bool coin() { return number(0, 1) == 1; }
    template <class T> const T &of(const std::vector<T> &all) {
        return all[static_cast<std::size_t>(number(0, static_cast<std::int64_t>(all.size()) - 1))];
    }

private:
    std::mt19937 random_;
};

const std::vector<std::string> hostile{"no",
                                       "Yes",
                                       "0777",
                                       "0x1f",
                                       "1_000",
                                       "null",
                                       "~",
                                       "true",
                                       " x",
                                       "x ",
                                       "\t",
                                       "#",
                                       "# no comment",
                                       "a: b",
                                       "a:",
                                       ": ",
                                       "- a",
                                       "-",
                                       "---",
                                       "...",
                                       "?",
                                       "|",
                                       ">",
                                       "&a",
                                       "*a",
                                       "!t",
                                       "%x",
                                       "@x",
                                       "`x`",
                                       "'",
                                       "\"",
                                       "\\",
                                       "\\n",
                                       "''",
                                       "{}",
                                       "{",
                                       "}",
                                       "[a, b]",
                                       "]",
                                       ",",
                                       "$(x)",
                                       "${HOME}",
                                       "{run}",
                                       "{bogus}",
                                       "{{run}}",
                                       "$",
                                       "ünïcödé",
                                       "日本",
                                       "\xf0\x9f\x9a\x80",
                                       "\xe2\x80\xa8",
                                       "\xe2\x80\xa9",
                                       "\xc2\x85",
                                       "\xef\xbb\xbf",
                                       "<<",
                                       "=",
                                       "1e3",
                                       "1:30",
                                       "2001-01-01",
                                       ".inf",
                                       "x\"y'z"};

std::string hostile_text(Dice &dice, bool lines) {
    std::string text;
    for (auto n = dice.number(1, 4); n > 0; --n) {
        text += dice.of(hostile);
        if (lines && dice.number(0, 3) == 0)
            text += dice.of<std::string>({"\n", "\n\n", "\r\n", "\x01", "\x7f", " \n", "\n "});
    }
    return text;
}

// The text with every ASCII sign behind a backslash, so that it is a valid pattern.
std::string quoted_pattern(const std::string &text) {
    std::string out;
    for (const char c : text) {
        const bool sign = c >= ' ' && c <= '~' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') &&
                          !(c >= 'A' && c <= 'Z') && c != '_';
        out += sign ? std::string{'\\', c} : std::string{c};
    }
    return out;
}

std::string valid_text(Dice &dice, const KeySpec &key, bool lines) {
    for (;;) {
        std::string text = hostile_text(dice, lines);
        if (key.check == nullptr || key.type == KeyType::map || key.check(text).empty())
            return (key.placeholders & ~env_placeholder) != 0 ? escape_placeholders(text) : text;
        // What has a rule of its own is made to follow it.
        const std::string path = key.path;
        if (path == "name" || path == "resources.chip")
            return dice.of<std::string>({"a", "2024", "x-1", "123"});
        if (path == "environment.secrets")
            return dice.of<std::string>({"A", "no", "_x", "TOKEN"});
        if (path == "resources.sbatch")
            return "--" + dice.of<std::string>({"exclude", "nice"}) + "=" + hostile_text(dice, false);
        if (path == "progress.patterns")
            return "(?P<step>" + quoted_pattern(hostile_text(dice, false)) + ")";
        if (path == "health.stall_timeout")
            return dice.of<std::string>({"auto", "off", "90s", "1-12:00:00"});
        if (path == "launch.mpi")
            return dice.of<std::string>({"pmix", "no"});
        if (path == "checkpoint.pattern")
            return dice.of<std::string>({"{step}", "no {step}", "# {step}'\"", "s-{step}.pt"});
    }
}

Value random_value(Dice &dice, const KeySpec &key) {
    const bool lines = key.type == KeyType::shell || key.type == KeyType::map || key.type == KeyType::command;
    switch (key.type) {
    case KeyType::text:
    case KeyType::path:
    case KeyType::shell: return valid_text(dice, key, lines);
    case KeyType::integer:
    case KeyType::duration:
    case KeyType::size: return dice.number(key.min, dice.coin() ? key.max : std::min(key.max, key.min + 100));
    case KeyType::enumeration:
    case KeyType::signal: return dice.of(key.allowed);
    case KeyType::list:
    case KeyType::options:
    case KeyType::command: {
        std::vector<std::string> items;
        for (auto n = dice.number(1, 4); n > 0; --n)
            items.push_back(valid_text(dice, key, lines));
        if (key.type == KeyType::command && dice.coin())
            items.emplace_back();
        return items;
    }
    case KeyType::map: {
        std::map<std::string, std::string> entries;
        for (auto n = dice.number(1, 3); n > 0; --n)
            entries[dice.of<std::string>({"A1", "no", "x", "Y", "null"})] =
                dice.coin() ? valid_text(dice, key, lines) : "";
        return entries;
    }
    }
    INVARIANT(false);
}

// Valid by each key's own rules and by those between keys.
Experiment random_experiment(Dice &dice) {
    ExperimentDraft draft;
    for (const auto &row : experiment_keys()) {
        const std::string path = row.spec.path;
        if (path != "resources.chips" && (row.spec.required || dice.coin()))
            store(row.slot(draft), row.spec, random_value(dice, row.spec));
    }
    Experiment &e = draft.experiment;
    e.resources.min_nodes = std::min(e.resources.min_nodes, e.resources.nodes);
    e.recovery.lease = std::max(e.recovery.lease, 3 * e.recovery.heartbeat);
    e.recovery.node_timeout = std::clamp(e.recovery.node_timeout, 2 * e.recovery.heartbeat, e.recovery.lease);
    if (e.launch.kind != LaunchKind::node)
        e.launch.preset = LaunchPreset::none;
    if (e.launch.kind != LaunchKind::srun)
        e.launch.mpi.clear();
    if (e.resources.per_node == 0)
        e.resources.chip.clear();
    if (e.resources.time)
        e.resources.time = std::max(*e.resources.time, e.checkpoint.save_time + std::chrono::seconds{1});
    if (!e.checkpoint.marker.empty())
        e.checkpoint.manifest.clear();
    for (const auto &secret : e.environment.secrets)
        e.environment.env.erase(secret);
    return e;
}

} // namespace

TEST_CASE("emit: any experiment reads back as it was") {
    for (unsigned seed = 1; seed <= 1500; ++seed) {
        Dice dice(seed);
        const Experiment experiment = random_experiment(dice);
        const std::string text = emit_experiment(experiment);
        const auto parsed = parse_experiment({text, "e.yaml"});
        CAPTURE(seed);
        CAPTURE(text);
        REQUIRE(parsed.text() == "");
        REQUIRE(parsed.experiment == experiment);
        REQUIRE(emit_experiment(parsed.experiment) == text);
    }
}

TEST_CASE("emit: setup is a block where that is safe") {
    Experiment e;
    e.name = "a";
    e.launch.command = {"x"};
    e.environment.setup = "source a\nif b; then\n  c\nfi\n";
    CHECK(emit_experiment(e).find("  setup: |\n    source a\n    if b; then\n      c\n    fi\n") != std::string::npos);
    e.environment.setup = " x\n\n";
    CHECK(emit_experiment(e).find("  setup: \" x\\n\\n\"\n") != std::string::npos);
}

TEST_CASE("fuzz: mutations of every-key.yaml never crash, and every problem has its place") {
    const std::string original =
        PosixFiles{}.read(std::string{TRAINCTL_SOURCE_DIR} + "/examples/every-key.yaml").value().value_or("");
    REQUIRE(!original.empty());
    const std::vector<std::string> pieces{"\n", " ", "  ",   "\t",         ":",     ": ",   "-",    "- ",   "{",
                                          "}",  "[", "]",    "\"",         "'",     "#",    "&a ",  "*a",   "!x ",
                                          "|",  ">", "%",    "---\n",      "...",   "\xff", "\x01", "0777", "no",
                                          "? ", ",", "<<: ", "nodes: 1\n", "{run}", "${X}", "{{{",  "$(",   "\\"};
    int with_problems = 0;
    for (unsigned seed = 1; seed <= 2000; ++seed) {
        Dice dice(seed);
        std::string text = original;
        for (auto n = dice.number(1, 6); n > 0; --n) {
            const auto at = static_cast<std::size_t>(dice.number(0, static_cast<std::int64_t>(text.size())));
            const auto length = static_cast<std::size_t>(dice.number(0, 40));
            switch (dice.number(0, 3)) {
            case 0: text.insert(at, dice.of(pieces)); break;
            case 1: text.erase(at, length); break;
            case 2: text.insert(at, original.substr(std::min(at, original.size()), length)); break;
            default: text.resize(dice.number(0, 9) == 0 ? at : text.size()); break;
            }
        }
        CAPTURE(seed);
        const auto parsed = parse_experiment({text, "e.yaml"});
        const int lines = static_cast<int>(split_lines(text + "\n").size());
        with_problems += parsed.ok() ? 0 : 1;
        for (const auto &problem : parsed.problems) {
            CAPTURE(problem.text());
            REQUIRE(problem.line >= 1);
            REQUIRE(problem.line <= lines + 1);
            REQUIRE(problem.col >= 1);
            REQUIRE(!problem.message.empty());
            REQUIRE(valid_utf8(problem.message) == problem.message);
        }
        if (parsed.ok())
            REQUIRE(parse_experiment({emit_experiment(parsed.experiment), "x"}).experiment == parsed.experiment);
    }
    CHECK(with_problems > 900); // the mutations bite
    CHECK(with_problems < 2000);
}

TEST_CASE("fuzz: nasty big files come to an end") {
    const std::size_t big = 200000;
    std::string keys, anchors = "a0: &a0 [x]\n";
    for (int i = 0; i < 15000; ++i)
        keys += "k" + std::to_string(i) + ":\n";
    for (int i = 1; i < 100; ++i)
        anchors += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + ", *a" +
                   std::to_string(i - 1) + "]\n";
    std::vector<std::string> texts{std::string(big, '['),
                                   std::string(big, '{'),
                                   std::string(big, '-'),
                                   std::string(big, '\n'),
                                   std::string(big, '"'),
                                   std::string(big, ':'),
                                   std::string(big, '?'),
                                   keys,
                                   anchors};
    for (const char *piece : {"- ", "? ", "a: ", "[a,", "{a: ", "\"\n", "!t ", "'a' "}) {
        std::string text;
        while (text.size() < big)
            text += piece;
        texts.push_back(text);
    }
    for (const auto &text : texts) {
        CAPTURE(text.substr(0, 20));
        CHECK(!parse_experiment({text, "e.yaml"}).ok()); // one that is slow in the length of a file runs into ctest's limit
    }
}
