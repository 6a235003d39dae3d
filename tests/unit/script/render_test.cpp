#include "unit/script/plans.h"

#include "support/temp_dir.h"

#include <algorithm>
#include <cstdlib>

namespace trainctl {

namespace {

std::string golden_path(const std::string &name) {
    return std::string{TRAINCTL_SOURCE_DIR} + "/tests/unit/script/golden/" + name + ".sbatch";
}

std::vector<std::pair<std::string, AttemptPlan>> golden_plans() { return {{"small", small_plan()}, {"full", full_plan()}}; }

Error render_error(const AttemptPlan &plan, const std::string &text) {
    const auto rendered = render_attempt(plan, text);
    REQUIRE_FALSE(rendered.ok());
    CHECK(rendered.error().kind == ErrorKind::invalid);
    return rendered.error();
}

} // namespace

TEST_CASE("render: scripts are as recorded, byte by byte") {
    for (const auto &[name, plan] : golden_plans()) {
        CAPTURE(name);
        const std::string script = rendered_script(plan);
        CHECK(script == rendered_script(plan));
        if (own_variable("TRAINCTL_REWRITE_GOLDEN") == "1")
            write_text(golden_path(name), script);
        CHECK(script == read_text(golden_path(name)));
    }
}

TEST_CASE("render: shellcheck has nothing to say about the scripts") {
    if (!find_program("shellcheck", own_variable("PATH"))) {
        MESSAGE("skipped: no shellcheck here");
        return;
    }
    TempDir dir;
    for (const auto &[name, plan] : golden_plans()) {
        CAPTURE(name);
        write_text(dir / name, rendered_script(plan));
        const auto said = run({"shellcheck", "--severity=style", dir / name});
        CHECK(said.out + said.err == "");
        CHECK(said.exit_code == 0);
    }
    write_text(dir / "bad", rendered_script(small_plan()) + "echo $agent\n");
    CHECK(run({"shellcheck", dir / "bad"}).exit_code == 1);
}

TEST_CASE("render: a missing agent is named, with the architecture, and the exit code is 127") {
    TempDir dir;
    AttemptPlan plan = small_plan();
    plan.root = dir / "root";
    plan.agent = plan.root + "/bin/trainctl-agent-0123abcd";
    write_text(dir / "script", rendered_script(plan), true);
    const auto result = run({dir / "script"});
    CHECK(result.exit_code == 127);
    CHECK(result.out == "");
    CHECK(result.err.find(plan.agent + "-" + machine() + " is missing") != std::string::npos);
}

TEST_CASE("render: neither BASH_ENV nor functions of the environment take part, and files are private") {
    TempDir dir;
    AttemptPlan plan = small_plan();
    plan.root = dir.path();
    plan.agent = dir / "agent";
    write_text(dir / "start-file", "echo started >&2\n");
    write_text(plan.agent + "-" + machine(), "#!/bin/sh\numask\n", true);
    write_text(dir / "script", rendered_script(plan), true);
    Environment environment = own_environment();
    environment["BASH_ENV"] = dir / "start-file";
    environment["ENV"] = dir / "start-file";
    environment["BASH_FUNC_uname%%"] = "() { echo function; }";
    const auto result = run({dir / "script"}, "", environment);
    CHECK(result.err == "");
    CHECK(result.out == "0077\n");
}

TEST_CASE("render: mistakes in a template are reported with file, line and column") {
    AttemptPlan plan = small_plan();
    plan.experiment.template_path = "my.mustache";
    struct Case {
        std::string text, where, message, hint;
    };
    const std::vector<Case> cases = {
        {"#!/bin/sh\necho {{run}} {{attempt\n", "my.mustache:2:14", "Unclosed tag", ""},
        {"#!/bin/sh\n{{#options}}\n", "my.mustache:2:1", "Unclosed section \"options\"", ""},
        {"#!/bin/sh\n\nx{{/options}}\n", "my.mustache:3:2", "Unopened section \"options\"", ""},
        {"#!/bin/sh\necho {{ run_dri }}\n", "my.mustache:2:9", "no variable \"run_dri\"", "did you mean run_dir?"},
        {"#!/bin/sh\n{{#opshuns}}{{/opshuns}}\n", "my.mustache:2:4", "no variable \"opshuns\"", "options"},
        {"#!/bin/sh\n{{> other}}\n", "my.mustache:2:5", "can't include", ""},
        {"echo {{run}}\n", "my.mustache:1:1", "interpreter", ""},
        {"", "my.mustache:1:1", "interpreter", ""},
        {"#!/bin/sh\r\necho\r\n", "my.mustache", "Windows", "Unix"},
        {"#!/bin/sh\n{{=}}\n", "my.mustache:2:1", "delimiter", ""},
    };
    for (const auto &[text, where, message, hint] : cases) {
        CAPTURE(text);
        const Error error = render_error(plan, text);
        CHECK(error.where == where);
        CHECK_MESSAGE(error.message.find(message) != std::string::npos, error.message);
        CHECK_MESSAGE(error.hint.find(hint) != std::string::npos, error.hint);
    }
}

TEST_CASE("render: a template of one's own sees every variable") {
    AttemptPlan plan = full_plan();
    const auto rendered = render_attempt(plan, "#!/bin/sh\n{{name}} {{run}} {{attempt}} {{job_name}} {{nodes}} {{{root}}} "
                                               "{{run_dir}} {{{attempt_dir}}} {{{agent}}}{{=<% %>=}}<%run%>\n");
    REQUIRE(rendered.ok());
    CHECK(rendered->script == "#!/bin/sh\nchar-gpt char-gpt-k3x9 012 tc-char-gpt-k3x9-012 18 /shared/it's 100% ours "
                              "'/shared/it'\\''s 100% ours/runs/char-gpt-k3x9' "
                              "/shared/it's 100% ours/runs/char-gpt-k3x9/attempts/012 "
                              "/shared/it's 100% ours/bin/trainctl-agent-0123abcdchar-gpt-k3x9\n");
}

TEST_CASE("render: only known templates are compiled in") {
    CHECK(builtin_template("slurm").substr(0, 2) == "#!");
    CHECK(builtin_template("other") == "");
}

} // namespace trainctl
