#include "experiment/parse.h"

#include "base/files.h"
#include "experiment/keys.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

// Problems of a text around a good core; `text` stands first, so its lines count from 1.
std::string problems_of(const std::string &text, const std::vector<std::string> &overrides = {}) {
    const auto parsed = parse_experiment({text, "e.yaml", overrides, {{"HOME", "/home/me"}, {"BAD", "a\nb"}}});
    return parsed.text();
}

const std::string core = "name: a\nresources: {nodes: 2}\nlaunch: {command: python x.py}\n";

std::string example(const std::string &name) {
    return PosixFiles{}.read(std::string{TRAINCTL_SOURCE_DIR} + "/examples/" + name).value().value_or("");
}

struct Row {
    const char *text, *problems;
};

} // namespace

TEST_CASE("experiment: the smallest one") {
    const auto parsed = parse_experiment({example("minimal.yaml"), "minimal.yaml"});
    CHECK(parsed.text() == "");
    CHECK(parsed.warnings.empty());
    Experiment expected;
    expected.name = "hello";
    expected.launch.command = {"bash", "-c", R"x(echo "rank $RANK of $WORLD_SIZE on $(hostname)")x"};
    CHECK(parsed.experiment == expected);
}

TEST_CASE("experiment: the example of a whole training has no problem") {
    const auto parsed = parse_experiment({example("char-gpt/experiment.yaml"), "experiment.yaml"});
    CHECK(parsed.text() == "");
    CHECK(parsed.warnings.empty());
    CHECK(!parsed.experiment.checkpoint.resume_args.empty());
    CHECK(!parsed.experiment.progress.patterns.empty());
}

TEST_CASE("experiment: every-key.yaml holds every key of the table, and has no problem") {
    const auto parsed = parse_experiment({example("every-key.yaml"), "every-key.yaml"});
    CHECK(parsed.text() == "");
    CHECK(parsed.warnings.empty());
    for (const auto &row : experiment_keys()) {
        CAPTURE(row.spec.path);
        // What excludes another key stands in a comment.
        const std::string path = row.spec.path;
        CHECK(parsed.places.count(path) == (path == "checkpoint.marker" || path == "launch.mpi" ? 0 : 1));
    }
    CHECK(example("every-key.yaml").find("# marker: .done") != std::string::npos);
    const Experiment &e = parsed.experiment;
    CHECK(e.resources.nodes == 2);
    CHECK(e.resources.time == std::chrono::hours{24});
    CHECK(e.resources.memory_mib == 65536);
    CHECK(e.environment.env.at("OMP_NUM_THREADS") == "8");
    CHECK(e.launch.command ==
          std::vector<std::string>{"python", "train.py", "--out", "{checkpoint_dir}", "--tag", "run {run}"});
    CHECK(e.checkpoint.resume_args == std::vector<std::string>{"--resume", "{checkpoint}"});
    CHECK(e.ranks_per_node() == 8);
}

TEST_CASE("experiment: the table's own texts are true") {
    ExperimentDraft defaults;
    for (const auto &row : experiment_keys()) {
        CAPTURE(row.spec.path);
        CHECK(std::string{row.spec.doc}.size() > 20);
        CHECK(std::string{row.spec.example} != "");
        // The default is what an experiment has without the key.
        if (row.spec.otherwise[0] != '\0') {
            const auto parsed =
                parse_experiment({core, "e.yaml", {std::string{row.spec.path} + "=" + row.spec.otherwise}});
            CHECK(parsed.text() == "");
            ExperimentDraft given{parsed.experiment, std::nullopt};
            const auto value = load(row.slot(given), row.spec);
            const auto otherwise = load(row.slot(defaults), row.spec);
            REQUIRE((value && otherwise));
            CHECK(*value == *otherwise);
        }
        // The example is a valid value beside what it needs.
        std::vector<std::string> sets{"resources.per_node=8", "resources.nodes=2",
                                      std::string{row.spec.path} + "=" + row.spec.example};
        if (std::string{row.spec.path} == "launch.preset")
            sets.emplace_back("launch.kind=node");
        if (std::string{row.spec.path} == "launch.mpi")
            sets.emplace_back("launch.kind=srun");
        CHECK(problems_of(core, sets) == "");
    }
}

TEST_CASE("experiment: keys") {
    const Row rows[] = {
        {"", "e.yaml:1:1: missing key 'name', for example `name: char-gpt`\n"
             "e.yaml:1:1: missing key 'launch.command', for example `launch.command: python train.py`\n"
             "e.yaml:1:1: missing key 'resources.nodes' (or 'resources.chips'), for example `resources.nodes: 2`"},
        {"name: a\nresources: {nodes: 1}\nlaunch: {per_node: 1}\n",
         "e.yaml:3:1: missing key 'launch.command', for example `launch.command: python train.py`"},
        {"nmae: a\nresources: {noodes: 1}\nlaunch: {command: x}\n",
         "e.yaml:1:1: unknown key 'nmae': did you mean 'name'?\n"
         "e.yaml:1:1: missing key 'name', for example `name: char-gpt`\n"
         "e.yaml:2:1: missing key 'resources.nodes' (or 'resources.chips'), for example `resources.nodes: 2`\n"
         "e.yaml:2:13: unknown key 'noodes' in 'resources': did you mean 'nodes'?"},
        {"name: a\nnodes: 1\nresources: {nodes: 1}\nlaunch: {command: x}\n",
         "e.yaml:2:1: unknown key 'nodes': did you mean 'resources.nodes'?"},
        {"name: a\nresources: {nodes: 1}\nlaunch: {command: x, zzz: 1}\n",
         "e.yaml:3:22: unknown key 'zzz' in 'launch': allowed keys: kind, preset, mpi, per_node, command"},
        {"name: a\nname: b\nresources: {nodes: 1, nodes: 2}\nlaunch: {command: x}\n",
         "e.yaml:2:1: duplicate key 'name': it stands at line 1 already\n"
         "e.yaml:3:23: duplicate key 'nodes': it stands at line 3 already"},
        {"name: a\nresources:\nlaunch: {command: x}\n",
         "e.yaml:2:1: 'resources' is empty: give it keys (nodes, chips, per_node, chip, spares, min_nodes, time, mem, "
         "cpus, partition, account, qos, constraint, reservation, sbatch), or remove the line\n"
         "e.yaml:2:1: missing key 'resources.nodes' (or 'resources.chips'), for example `resources.nodes: 2`"},
        {"name: a\nresources: {nodes: 1}\nlaunch: python\n",
         "e.yaml:3:1: missing key 'launch.command', for example `launch.command: python train.py`\n"
         "e.yaml:3:9: 'launch' must be a map of keys (kind, preset, mpi, per_node, command), not a text"},
        {"name: a\nresources: {nodes: 1}\nlaunch:\n  command:x\n",
         "e.yaml:3:1: missing key 'launch.command', for example `launch.command: python train.py`\n"
         "e.yaml:4:3: 'launch' must be a map of keys (kind, preset, mpi, per_node, command), not a text: write a blank after "
         "'command:'"},
        {"- a\n", "e.yaml:1:1: must be a map of keys and values, not a list"},
        {"name: !a x\nresources: !b {nodes: 1}\nlaunch: {command: &c x}\n",
         "e.yaml:1:7: tags (!name) are not supported: put the value in quotes if the text itself is meant\n"
         "e.yaml:2:12: tags (!name) are not supported: put the value in quotes if the text itself is meant\n"
         "e.yaml:3:19: anchors and aliases (&name, *name) are not supported: write the value out, or put it in quotes if "
         "the text itself is meant"},
        {"name: a\nresources: {nodes: 1}\nlaunch: {command: x}\n<<: {cluster: x}\n",
         "e.yaml:4:1: merge keys (<<) are not supported: write the keys out"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        CHECK(problems_of(row.text) == row.problems);
    }
}

TEST_CASE("experiment: values, each problem by its exact words") {
    const Row rows[] = {
        {"name=Char GPT!",
         "'name' must be lower-case letters, digits and '-', at most 32 of them, not 'Char GPT!': write "
         "'char-gpt'?"},
        {"name=2024-run", ""},
        {"name=no", "'name' is no, which YAML reads as true or false: write \"no\" for the text"},
        {"name='no'", ""},
        {"name=[a]", "'name' must be a text, not a list"},
        {"resources.nodes=two", "'resources.nodes' must be a whole number, not 'two'"},
        {"resources.nodes=0", "'resources.nodes' must be from 1 to 100000, not 0"},
        {"resources.nodes='2'", "'resources.nodes' must be a number, not a text: write 2 without quotes"},
        {"resources.nodes=0777",
         "'resources.nodes' is '0777', which some YAML readers take for a number of base 8: write "
         "it without the leading 0"},
        {"resources.nodes=yes", "'resources.nodes' must be a whole number, not 'yes'"},
        {"resources.nodes=[1]", "'resources.nodes' must be a whole number, not a list"},
        {"resources.time=90", "'resources.time' is '90' without a unit: write 90s, 90m, 90h or 90d"},
        {"resources.time=0s", "'resources.time' must be from 1s to 1000d, not 0s"},
        {"resources.mem=64", "'resources.mem' is '64' without a unit: write 64M, 64G or 64T"},
        {"resources.account=0042", "'resources.account' is 0042, which YAML readers turn into another number: write "
                                   "\"0042\" for the text"},
        {"resources.account='0042'", ""},
        {"resources.partition=--x", "'resources.partition' can't begin with '-': '--x'"},
        {"resources.partition=\"a\\nb\"", "'resources.partition' can't have a line break in it"},
        {"resources.partition=\"a\\x01b\"", "'resources.partition' can't have a control character in it"},
        {"resources.partition=''", "'resources.partition' is empty: give a value, or remove it"},
        {"resources.partition=${NOPE}", "'resources.partition': ${NOPE} is not set in your environment: export it, or "
                                        "write $${NOPE} for the text itself"},
        {"resources.partition=${BAD}", "'resources.partition': the value of a variable has a line break in it"},
        {"launch.kind=rank", "'launch.kind' must be one of ranks, node, srun, not 'rank': did you mean 'ranks'?"},
        {"recovery.standby=on", ""},
        {"recovery.standby=yes", "'recovery.standby' must be one of auto, on, off, not 'yes'"},
        {"checkpoint.save_signal=SIGUSR1", ""},
        {"checkpoint.save_signal=KILL",
         "'checkpoint.save_signal' must be one of USR1, USR2, TERM, INT, HUP, QUIT, ALRM, "
         "WINCH, not 'KILL'"},
        {"checkpoint.pattern=step", "'checkpoint.pattern' must have {step} in it once, such as step-{step}.pt, not "
                                    "'step'"},
        {"checkpoint.marker=../x",
         "'checkpoint.marker' is a name inside the checkpoint (or what is added to the name of "
         "its file), not '../x'"},
        {"checkpoint.dir='c-{attempt}'", "'checkpoint.dir': {attempt} can't be used here (allowed: {run}, ${NAME})"},
        {"launch.command=python x | tee log",
         "'launch.command' has '|', and no shell runs it: put it in quotes, or write "
         "bash -c '...'"},
        {"launch.command=[python, yes]",
         "'launch.command[2]' is yes, which YAML reads as true or false: write \"yes\" for "
         "the text"},
        {"launch.command=[python, [x]]", "'launch.command[2]' must be a text, not a list"},
        {"launch.command=[python, '{checkpoint}']",
         "'launch.command[2]': {checkpoint} stands in checkpoint.resume_args "
         "only: the first attempt has no checkpoint"},
        {"launch.command=''", "'launch.command' is empty: give a program, or remove it"},
        {"launch.command=[]", "'launch.command' is empty: give a program, or remove it"},
        {"launch.command=[a, \"x\\0y\"]", "'launch.command[2]' can't have a NUL character in it"},
        {"launch.command={a: b}", "'launch.command' must be a list of words or a text, not a map"},
        {"environment.env.RANK=1", "'environment.env': RANK is set by trainctl for each rank"},
        {"environment.env.SLURM_X=1", "'environment.env': SLURM_X can't be set: SLURM_* belongs to Slurm and its "
                                      "launchers"},
        {"environment.env.A-B=1",
         "'environment.env': 'A-B' can't be the name of a variable: letters, digits and '_', not "
         "a digit first"},
        {"environment.env.X=off",
         "'environment.env.X' is off, which YAML reads as true or false: write \"off\" for the "
         "text"},
        {"environment.env.X=[1]", "'environment.env.X' must be a text, not a list"},
        {"environment.env=[X]", "'environment.env' must be a map of names and texts, not a list"},
        {"environment.secrets=[TOKEN=abc]",
         "'environment.secrets[1]' list the name only, TOKEN: the value is taken from "
         "your environment when you submit, and must not be in a file"},
        {"environment.secrets=TOKEN", "'environment.secrets' must be a list, not a text: write [a, b]"},
        {"code.exclude=data", "'code.exclude' must be a list, not a text: write [data]"},
        {"resources.sbatch=[exclusive]", "'resources.sbatch[1]' 'exclusive' must be a long option of sbatch: --name or "
                                         "--name=value"},
        {"resources.sbatch=[--mail-type FAIL]",
         "'resources.sbatch[1]' '--mail-type FAIL' must be one option: --name or "
         "--name=value (each option is an item of its own)"},
        {"resources.sbatch=[--time=5]", "'resources.sbatch[1]' --time can't be given here: use resources.time"},
        {"resources.sbatch=[--uid=0]", "'resources.sbatch[1]' --uid can't be given here: trainctl sets it itself, and needs it as it is"},
        {"resources.sbatch=[--exclud=n1]", "'resources.sbatch[1]' --exclud can't be given here: write it out, --exclude"},
        {"resources.sbatch=[--depend=x]", "'resources.sbatch[1]' --depend can't be given here: sbatch takes it for "
                                          "--dependency: trainctl sets it itself, and needs it as it is"},
        {"resources.sbatch={exclusive: true, nice: 5}", ""},
        {"resources.sbatch={requeue: true}",
         "'resources.sbatch.requeue' --requeue can't be given here: trainctl sets it "
         "itself, and needs it as it is"},
        {"progress.patterns=['step (']",
         "'progress.patterns[1]' is not a valid pattern (RE2): missing ): step (: 'step "
         "('"},
        {"progress.patterns=['(?P<stp>x)']",
         "'progress.patterns[1]' has a group 'stp'; known groups are step, loss and "
         "rate: '(?P<stp>x)'"},
        {"progress.patterns=[step]", "'progress.patterns[1]' needs a group (?P<step>...), (?P<loss>...) or "
                                     "(?P<rate>...): 'step'"},
        {"resources.chips=8", "'resources.chips' needs 'resources.per_node': how many chips a node has"},
        {"resources.chip=h100", "'resources.chip' needs 'resources.per_node': how many chips each node gives"},
        {"resources.min_nodes=3", "'resources.min_nodes' (3) can't be more than the nodes that train (2)"},
        {"recovery.lease=10s", "'recovery.lease' (10s) must be at least three times 'recovery.heartbeat' (5s)"},
        {"a b=c", "must be key.path=value, such as resources.nodes=4"},
        {"resources.nodse=4", "unknown key 'nodse' in 'resources': did you mean 'nodes'?"},
        {"resources.nodes=[1",
         "a list or a map stands where a key is wanted: a bracket is not closed, or a text that begins with "
         "'{' or '[' needs quotes"},
        {"name=&a b",
         "anchors and aliases (&name, *name) are not supported: write the value out, or put it in quotes if "
         "the text itself is meant"},
        {"name=!!str b", "tags (!name) are not supported: put the value in quotes if the text itself is meant"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        const std::string expected =
            row.problems[0] == '\0' ? "" : "--set " + std::string{row.text} + ": " + row.problems;
        CHECK(problems_of(core, {row.text}) == expected);
    }
}

TEST_CASE("experiment: what looks like a secret is not shown") {
    for (const char *text :
         {"environment.secrets=[TOKEN=hunter2]", "environment.secrets=[hunter2-x]", "environment.secrets=hunter2"}) {
        // The person's own argument comes first; the message behind it must not repeat it.
        const std::string all = problems_of(core, {text});
        CHECK(all.find("hunter2", std::string{"--set "}.size() + std::string{text}.size()) == std::string::npos);
        CHECK(problems_of(core + "environment: {secrets: [TOKEN=hunter2, hunter2-x]}\n").find("hunter2") ==
              std::string::npos);
    }
}

TEST_CASE("experiment: nodes and chips") {
    const auto nodes = [](const std::string &resources) {
        const auto parsed = parse_experiment({"name: a\nlaunch: {command: x}\nresources: " + resources, "e.yaml"});
        return parsed.ok() ? std::to_string(parsed.experiment.resources.nodes) : parsed.text();
    };
    CHECK(nodes("{chips: 16, per_node: 8}") == "2");
    CHECK(nodes("{chips: 16, per_node: 8, nodes: 2}") == "2");
    CHECK(nodes("{chips: 20, per_node: 8}") ==
          "e.yaml:3:13: 'resources.chips' must be a multiple of 'resources.per_node' (8), not 20: write 16 or 24");
    CHECK(nodes("{chips: 4, per_node: 8}") ==
          "e.yaml:3:13: 'resources.chips' must be a multiple of 'resources.per_node' (8), not 4: write 8");
    CHECK(nodes("{chips: 16, per_node: 8, nodes: 3}") ==
          "e.yaml:3:13: 16 chips with 8 on each node are 2 nodes, but 'resources.nodes' is 3: give one of the two");
    CHECK(nodes("{chips: 16, per_node: 8, min_nodes: 3}") ==
          "e.yaml:3:37: 'resources.min_nodes' (3) can't be more than the nodes that train (2)");
    CHECK(nodes("{nodes: 1, per_node: 8, sbatch: [--gres=nvme:1]}") ==
          "e.yaml:3:36: --gres can't be given beside 'resources.per_node': it would replace the chips");
    CHECK(nodes("{nodes: 1, sbatch: [--gres=nvme:1]}") == "1");
}

TEST_CASE("experiment: rules between keys") {
    CHECK(problems_of(core + "checkpoint: {save_signal: USR1, save_time: 10m}\n", {"resources.time=5m"}) ==
          "e.yaml:4:33: 'checkpoint.save_time' (10m) must be shorter than 'resources.time' (5m)");
    CHECK(problems_of(core + "checkpoint: {marker: a, manifest: b}\n") ==
          "e.yaml:4:25: give 'checkpoint.marker' or 'checkpoint.manifest', not both");
    CHECK(problems_of(core + "environment: {env: {A: 1}, secrets: [A]}\n") ==
          "e.yaml:4:28: A is in 'environment.env' too: give it in one place");
}

TEST_CASE("experiment: YAML's traps") {
    const Row rows[] = {
        {"name: a\nresources:\n\tnodes: 1\nlaunch: {command: x}\n",
         "e.yaml:3:7: bad YAML: line 3 is indented with a tab: "
         "use spaces"},
        {"name: a: b\n", "e.yaml:1:8: bad YAML: illegal map value (a text with ': ' in it must be in quotes)"},
        {"name: &x a\nresources: {nodes: 1}\nlaunch: {command: *x}\n",
         "e.yaml:1:7: anchors and aliases (&name, *name) are not supported: write the value out, or put it in quotes if "
         "the text itself is meant\n"
         "e.yaml:3:19: anchors and aliases (&name, *name) are not supported: write the value out, or put it in quotes if "
         "the text itself is meant"},
        {"nmae: a\nname: b\nresources: {nodes: 1\nlaunch: {command: x}\n",
         "e.yaml:1:1: unknown key 'nmae': did you mean 'name'?\n"
         "e.yaml:4:7: bad YAML: end of map flow not found (indentation, or a bracket that is not closed)"},
        {"name: a\nresources: {nodes: 1}\nlaunch:\n  command: \"x\n",
         "e.yaml:4:12: bad YAML: the quote that opens here is "
         "not closed"},
        {"name: a\nresources: {nodes: 1}\nlaunch:\n  command: 'x''\n",
         "e.yaml:4:12: bad YAML: the quote that opens here "
         "is not closed"},
        {"name: a\n\x01", "e.yaml:2:1: control character 0x01: write it as \"\\x01\" if it is meant"},
        {"name: \xff\n", "e.yaml:1:7: not valid UTF-8: save the file as UTF-8"},
        {"name: a\rresources: {}\n", "e.yaml:1:8: control character 0x0d: write it as \"\\x0d\" if it is meant"},
        {"? [a]\n: b\n", "e.yaml:1:3: a list or a map stands where a key is wanted: a bracket is not closed, or a text "
                         "that begins with '{' or '[' needs quotes"},
        {"name:\nresources: {nodes: 1}\nlaunch: {command: x}\n", "e.yaml:1:1: 'name' has no value: give one, or remove "
                                                                 "the line"},
        {"name: ~\nresources: {nodes: 1}\nlaunch: {command: x}\n",
         "e.yaml:1:1: 'name' has no value: give one, or remove "
         "the line"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        CHECK(problems_of(row.text) == row.problems);
    }
    CHECK(
        problems_of(core + "---\nname: b\n") ==
        "e.yaml:4:1: a second document begins here: one file holds one experiment or one list of clusters; remove the "
        "'---'");
    CHECK(problems_of("---\r\nname: a\r\nresources: {nodes: 2}\r\nlaunch: {command: x}\r\n") == "");
    CHECK(problems_of("\xef\xbb\xbf" + core) == "");
    CHECK(problems_of("name: a\nresources: {nodes: 2}\nlaunch:\n  command: 'x ''y'' '") == "");
    CHECK(problems_of("name: a\nresources: {nodes: 2}\nlaunch:\n  command: \"it \\\"x\\\"\"") == "");
    std::string deep;
    for (int i = 0; i < 100; ++i)
        deep += "- ";
    CHECK(problems_of(deep) == "e.yaml:1:33: nested deeper than 16 levels");
    CHECK(problems_of("name: a\n" + std::string(300000, '#')) ==
          "e.yaml:1:1: the file has 300 kB: more than 262 kB is no file of trainctl's");
}

TEST_CASE("experiment: overrides") {
    const auto parsed = parse_experiment({core,
                                          "e.yaml",
                                          {"resources.nodes=4", "environment.env.LR=0.1", "name=b",
                                           "launch.command=[a, \"b c\"]", "resources.time=1h", "resources.time="}});
    CHECK(parsed.text() == "");
    CHECK(parsed.experiment.resources.nodes == 4);
    CHECK(parsed.experiment.environment.env.at("LR") == "0.1");
    CHECK(parsed.experiment.name == "b");
    CHECK(parsed.experiment.launch.command == std::vector<std::string>{"a", "b c"});
    CHECK(!parsed.experiment.resources.time);
    CHECK(problems_of("name: A\n" + core.substr(8), {"resources.nodes=0", "recovery.lease=5"}) ==
          "e.yaml:1:7: 'name' must be lower-case letters, digits and '-', at most 32 of them, not 'A': write 'a'?\n"
          "--set resources.nodes=0: 'resources.nodes' must be from 1 to 100000, not 0\n"
          "--set recovery.lease=5: 'recovery.lease' is '5' without a unit: write 5s, 5m, 5h or 5d");
}

TEST_CASE("experiment: ${NAME} is taken once, and its value is never read again") {
    const Environment environment{{"OUT", "/data/{run}/${X}"}, {"PART", "gpu"}};
    const auto parsed =
        parse_experiment({core,
                          "e.yaml",
                          {"launch.command=a --out=${OUT}", "resources.partition=${PART}", "code.path=${OUT}"},
                          environment});
    CHECK(parsed.text() == "");
    REQUIRE(parsed.experiment.launch.command.size() == 2);
    CHECK(expand(parsed.experiment.launch.command[1], {}).value() == "--out=/data/{run}/${X}");
    CHECK(parsed.experiment.resources.partition == "gpu");
    CHECK(parsed.experiment.code.path == "/data/{run}/${X}");
    CHECK(parse_experiment({emit_experiment(parsed.experiment), "again"}).experiment == parsed.experiment);
}

TEST_CASE("experiment: a command of one word with blanks is a warning") {
    const auto parsed =
        parse_experiment({"name: a\nresources: {nodes: 1}\nlaunch:\n  command: [python train.py]\n", "e.yaml"});
    CHECK(parsed.ok());
    REQUIRE(parsed.warnings.size() == 1);
    CHECK(parsed.warnings[0].text() ==
          "e.yaml:4:3: 'launch.command' is one word with blanks in it, so a program of that "
          "name: write it without the brackets or quotes to have it split");
}
