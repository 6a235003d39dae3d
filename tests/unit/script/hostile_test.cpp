#include "unit/script/plans.h"

#include "support/temp_dir.h"

#include <algorithm>
#include <random>

namespace trainctl {

namespace {

// Pieces that mean something to a shell, to mustache, to printf, to Slurm or to a terminal. $M is a marker file.
const std::vector<std::string> pieces = {
    "$(touch \"$M\")", "`touch $M`", ";touch $M;", "'", "\"", "\\", "$M", "${M}", "&", "|", "<", ">$M", "#", "%s", "%j", "%%",
    "-", "--wrap=x", " ", "  ", "!", "!!", "*", "?", "[a]", "{a,b}", "~", "~root", "=", "(", ")", "{{run}}", "{{{name}}}",
    "{{#options}}", "}}", "&quot;", "ü", "日本", "\xe2\x80\xa8", "\xff\xfe", "$'\\n'", "EOF", "x", "0", "#SBATCH --wrap=x"};

std::string hostile(std::mt19937_64 &random) {
    std::string text;
    for (auto left = 1 + random() % 6; left > 0; --left)
        text += pieces[random() % pieces.size()];
    return text;
}

// For folders: no slash is in the pieces; a backslash is refused in the run root (Slurm removes it).
std::string hostile_folder(std::mt19937_64 &random) {
    std::string text = hostile(random);
    for (char &c : text)
        c = c == '\\' ? '_' : c;
    return text;
}

AttemptPlan hostile_plan(std::mt19937_64 &random, const std::string &dir) {
    AttemptPlan plan = small_plan();
    auto &wanted = plan.experiment.resources;
    plan.experiment.name = hostile(random);
    wanted.partition = hostile(random);
    wanted.account = hostile(random);
    wanted.qos = hostile(random);
    wanted.constraint = hostile(random);
    wanted.reservation = hostile(random);
    wanted.sbatch = {"--mail-user=" + hostile(random)};
    plan.experiment.environment.setup = hostile(random);
    plan.experiment.launch.command = {hostile(random)};
    plan.exclude_nodes = {hostile(random)};
    plan.root = dir + "/" + hostile_folder(random);
    plan.agent = plan.root + "/bin/" + hostile(random);
    return plan;
}

} // namespace

TEST_CASE("render: no text of a user runs in the batch script, and the agent gets its arguments unchanged") {
    constexpr int rounds = 60;
    std::mt19937_64 random{20261122};
    const std::string arch = machine();
    for (int round = 0; round < rounds; ++round) {
        TempDir dir;
        const AttemptPlan plan = hostile_plan(random, dir.path());
        CAPTURE(round);
        CAPTURE(plan.root);
        Environment environment = own_environment();
        environment["M"] = dir / "marker";
        write_text(plan.agent + "-" + arch, argv_printer, true);
        const std::string script = rendered_script(plan);
        write_text(dir / "script", script, true);
        const auto result = run({dir / "script"}, dir.path(), environment);
        CHECK(result.err == "");
        CHECK(nul_separated(result.out) ==
              std::vector<std::string>{"run", "--run-dir", plan.root + "/runs/" + plan.run.value, "--attempt", "001"});
        CHECK_FALSE(std::filesystem::exists(dir / "marker"));
        CHECK(script.find("\n#SBATCH") == std::string::npos);
    }
}

TEST_CASE("render: sbatch's arguments and a template's values arrive unchanged, whatever is in them") {
    constexpr int rounds = 40;
    std::mt19937_64 random{4711};
    const std::string every = "#!/bin/bash -p\nprintf '%s\\0' {{name}} {{root}} {{agent}}{{#options}} {{.}}{{/options}}\n";
    for (int round = 0; round < rounds; ++round) {
        TempDir dir;
        const AttemptPlan plan = hostile_plan(random, dir.path());
        CAPTURE(round);
        const auto rendered = render_attempt(plan, every);
        REQUIRE(rendered.ok());
        const auto &wanted = plan.experiment.resources;
        for (const auto &option : {"--partition=" + wanted.partition, "--constraint=" + wanted.constraint,
                                   "--exclude=" + plan.exclude_nodes[0], wanted.sbatch[0]})
            CHECK(std::count(rendered->options.begin(), rendered->options.end(), option) == 1);

        write_text(dir / "sbatch", argv_printer, true);
        std::vector<std::string> argv = {dir / "sbatch"};
        argv.insert(argv.end(), rendered->options.begin(), rendered->options.end());
        CHECK(nul_separated(run(argv).out) == rendered->options);

        Environment environment = own_environment();
        environment["M"] = dir / "marker";
        write_text(dir / "script", rendered->script, true);
        std::vector<std::string> meant = {plan.experiment.name, plan.root, plan.agent};
        meant.insert(meant.end(), rendered->options.begin(), rendered->options.end());
        CHECK(nul_separated(run({dir / "script"}, dir.path(), environment).out) == meant);
        CHECK_FALSE(std::filesystem::exists(dir / "marker"));
    }
}

} // namespace trainctl
