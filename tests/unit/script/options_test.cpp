#include "unit/script/plans.h"

#include "script/options.h"

#include <algorithm>

namespace trainctl {

namespace {

std::vector<std::string> options_of(const AttemptPlan &plan) {
    const auto options = sbatch_options(plan);
    REQUIRE_MESSAGE(options.ok(), (options.ok() ? "" : options.error().text()));
    return *options;
}

bool has(const std::vector<std::string> &options, const std::string &option) {
    return std::find(options.begin(), options.end(), option) != options.end();
}

Error options_error(const AttemptPlan &plan) {
    const auto options = sbatch_options(plan);
    REQUIRE_FALSE(options.ok());
    CHECK(options.error().kind == ErrorKind::invalid);
    return options.error();
}

} // namespace

TEST_CASE("options: a small experiment leaves to the cluster what it does not name") {
    CHECK(options_of(small_plan()) ==
          std::vector<std::string>{
              "--job-name=tc-char-gpt-k3x9-001", "--comment=trainctl run=char-gpt-k3x9 attempt=001", "--nodes=1",
              "--ntasks-per-node=1", "--signal=B:USR1@120", "--no-requeue", "--open-mode=append", "--propagate=NONE",
              "--export=ALL", "--chdir=/shared/trainctl/runs/char-gpt-k3x9",
              "--output=/shared/trainctl/runs/char-gpt-k3x9/attempts/001/logs/batch.log"});
}

TEST_CASE("options: everything that an experiment can ask for") {
    CHECK(options_of(full_plan()) ==
          std::vector<std::string>{"--job-name=tc-char-gpt-k3x9-012",
                                   "--comment=trainctl run=char-gpt-k3x9 attempt=012",
                                   "--nodes=18",
                                   "--ntasks-per-node=1",
                                   "--cpus-per-task=96",
                                   "--mem=1800000M",
                                   "--gres=gpu:h100:8",
                                   "--time=1-12:00:00",
                                   "--signal=B:USR1@120",
                                   "--partition=gpu",
                                   "--account=physics",
                                   "--qos=high",
                                   "--constraint=ib&(a|b)",
                                   "--reservation=march",
                                   "--exclude=n7,n9",
                                   "--dependency=afternotok:4711",
                                   "--kill-on-invalid-dep=yes",
                                   "--no-requeue",
                                   "--no-kill",
                                   "--open-mode=append",
                                   "--propagate=NONE",
                                   "--export=ALL",
                                   "--chdir=/shared/it's 100% ours/runs/char-gpt-k3x9",
                                   "--output=/shared/it's 100%% ours/runs/char-gpt-k3x9/attempts/012/logs/batch.log",
                                   "--exclusive",
                                   "--switches=1@10"});
}

TEST_CASE("options: the early signal leaves time to save, and at most half of a short limit") {
    struct Case {
        std::int64_t limit_s, save_s;
        std::string time, signal;
    };
    const std::vector<Case> cases = {{86400, 60, "--time=1-00:00:00", "--signal=B:USR1@120"},
                                     {86399, 600, "--time=23:59:59", "--signal=B:USR1@660"},
                                     {60, 60, "--time=00:01:00", "--signal=B:USR1@30"},
                                     {1, 60, "--time=00:00:01", "--signal=B:USR1@1"},
                                     {8640000, 100000, "--time=100-00:00:00", "--signal=B:USR1@65535"}};
    for (const auto &[limit_s, save_s, time, signal] : cases) {
        CAPTURE(limit_s);
        AttemptPlan plan = small_plan();
        plan.experiment.resources.time = std::chrono::seconds{limit_s};
        plan.experiment.checkpoint.save_time = std::chrono::seconds{save_s};
        const auto options = options_of(plan);
        CHECK(has(options, time));
        CHECK(has(options, signal));
    }
}

TEST_CASE("options: any chip will do unless one is named") {
    AttemptPlan plan = small_plan();
    plan.experiment.resources.per_node = 4;
    CHECK(has(options_of(plan), "--gres=gpu:4"));
    plan.experiment.resources.chip = "h100,license:9";
    CHECK(options_error(plan).where == "resources.chip");
}

TEST_CASE("options: nodes that the user and the run exclude come together") {
    AttemptPlan plan = small_plan();
    plan.experiment.resources.sbatch = {"--exclude=n[1-2]"};
    plan.exclude_nodes = {"n5"};
    const auto options = options_of(plan);
    CHECK(has(options, "--exclude=n5,n[1-2]"));
    CHECK(std::count_if(options.begin(), options.end(), [](const auto &o) { return o.find("--exclude") == 0; }) == 1);
}

TEST_CASE("options: what Slurm can't take is refused, with its key") {
    struct Case {
        std::string where;
        void (*change)(AttemptPlan &);
    };
    const std::vector<Case> cases = {
        {"resources.partition", [](AttemptPlan &p) { p.experiment.resources.partition = "a\nb"; }},
        {"resources.account", [](AttemptPlan &p) { p.experiment.resources.account = std::string("a\0b", 3); }},
        {"resources.qos", [](AttemptPlan &p) { p.experiment.resources.qos = "a\rb"; }},
        {"resources.constraint", [](AttemptPlan &p) { p.experiment.resources.constraint = "\x1b"; }},
        {"resources.reservation", [](AttemptPlan &p) { p.experiment.resources.reservation = "a\tb"; }},
        {"resources.sbatch", [](AttemptPlan &p) { p.experiment.resources.sbatch = {"--mail-user=a\nb"}; }},
        {"resources.time", [](AttemptPlan &p) { p.experiment.resources.time = std::chrono::seconds{0}; }},
        {"name", [](AttemptPlan &p) { p.experiment.name = "a\nb"; }},
        {"exclude", [](AttemptPlan &p) { p.exclude_nodes = {"n1\n"}; }},
        {"root", [](AttemptPlan &p) { p.root = "/a\nb"; }},
        {"root", [](AttemptPlan &p) { p.root = "/a\\b"; }},
        {"root", [](AttemptPlan &p) { p.root = "relative"; }},
        {"agent", [](AttemptPlan &p) { p.agent = "/a\nb"; }},
        {"run", [](AttemptPlan &p) { p.run.value = "a b"; }},
        {"run", [](AttemptPlan &p) { p.no.value = 0; }},
    };
    for (const auto &[where, change] : cases) {
        CAPTURE(where);
        AttemptPlan plan = small_plan();
        change(plan);
        CHECK(options_error(plan).where == where);
    }
}

TEST_CASE("options: the user's own sbatch options can't undo the protocol") {
    for (const std::string option :
         {"--requeue", "--job-name=x", "--job=x", "--wrap=true", "--array=1-2", "--arr=1", "--wait", "--parsable", "--time=5",
          "--no-kill=off", "-Jx", "-J", "x.sh", "--", "", "--qos high", "--export=NONE", "--exclud=n1", "--uid=0", "--time-min=1", "--quiet", "--mem-per-gpu=1G", "--nodes=2"}) {
        CAPTURE(option);
        AttemptPlan plan = small_plan();
        plan.experiment.resources.sbatch = {option};
        CHECK(options_error(plan).where == "resources.sbatch");
    }
    for (const std::string option : {"--exclusive", "--wait-all-nodes=1", "--switches=1@10", "--mail-user=a b;$(c)", "--nodelist=n1",
                                     "--nice=10"}) {
        CAPTURE(option);
        AttemptPlan plan = small_plan();
        plan.experiment.resources.sbatch = {option};
        CHECK(options_of(plan).back() == option);
    }
}

} // namespace trainctl
