#include "slurm/answers.h"

#include "unit/slurm/fixtures.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

CommandResult result(int exit_code, std::string out, std::string err) {
    return {exit_code, std::move(out), std::move(err), false};
}

} // namespace

TEST_CASE("submit answer: ids in all their forms") {
    struct Case { const char *out; std::uint64_t id; const char *cluster; };
    const Case cases[] = {
        {"123\n", 123, ""},
        {"123;alps\n", 123, "alps"},
        {"Submitted batch job 7\n", 7, ""},
        {"sbatch: submitted batch job 15\n", 15, ""},
        {"Submitted batch job 9 on cluster c1\n", 9, "c1"},
        {"Welcome to the cluster!\nyour quota: 12 %\n42\n", 42, ""},
    };
    for (const auto &[out, id, cluster] : cases) {
        CAPTURE(out);
        const auto answer = submit_answer(result(0, out, ""));
        REQUIRE(std::holds_alternative<Submitted>(answer));
        CHECK(std::get<Submitted>(answer).id == JobId{id});
        CHECK(std::get<Submitted>(answer).cluster == cluster);
    }
}

TEST_CASE("submit answer: an id beside an error counts") {
    const auto answer = submit_answer(result(1, "5\n", "sbatch: error: Socket timed out on send/recv operation\n"));
    REQUIRE(std::holds_alternative<Submitted>(answer));
    CHECK(std::get<Submitted>(answer).id == JobId{5});
}

TEST_CASE("submit answer: silence is unknown, never a no") {
    for (const char *text :
         {"sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
          "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
          "sbatch: error: Batch job submission failed: Message receive failure",
          "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
          "sbatch: error: Batch job submission failed: Communication connection failure",
          "sbatch: error: Batch job submission failed: MaxJobCount limit reached",
          "sbatch: error: Batch job submission failed: Some words of a version to come",
          "sbatch: error: Batch job submission failed: Connection refused",
          "sbatch: fatal: Could not establish a configuration source", "Killed", ""}) {
        CAPTURE(text);
        for (const int exit_code : {0, 1, 137, 143, 255})
            if (exit_code != 255 || std::string_view{text}.find("sbatch: error") == std::string_view::npos)
                CHECK(std::holds_alternative<SubmitUnknown>(submit_answer(result(exit_code, "", text))));
    }
}

TEST_CASE("submit answer: a silence beside a no is unknown") {
    const std::string text = "sbatch: error: Invalid account or account/partition combination specified\n"
                             "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n";
    CHECK(std::holds_alternative<SubmitUnknown>(submit_answer(result(1, "", text))));
}

TEST_CASE("submit answer: a kill by a signal is unknown whatever was said before") {
    const std::string text = "sbatch: error: Batch job submission failed: Invalid qos specification";
    CHECK(std::holds_alternative<Rejected>(submit_answer(result(1, "", text))));
    CHECK(std::holds_alternative<SubmitUnknown>(submit_answer(result(128 + 9, "", text))));
}

TEST_CASE("submit answer: commands that did not end") {
    const auto of = [](ErrorKind kind) { return submit_answer(Error{kind, "sbatch: something", "", ""}); };
    CHECK(std::holds_alternative<Rejected>(of(ErrorKind::not_found)));
    CHECK(std::holds_alternative<Rejected>(of(ErrorKind::denied)));
    CHECK(std::holds_alternative<SubmitUnknown>(of(ErrorKind::timeout)));
    CHECK(std::holds_alternative<SubmitUnknown>(of(ErrorKind::interrupted)));
    CHECK(std::holds_alternative<SubmitUnknown>(of(ErrorKind::io)));
}

TEST_CASE("submit answer: what a real sbatch said") {
    std::size_t rejected = 0, accepted = 0;
    for (const auto &said : recorded_commands("sbatch_answers.txt")) {
        CAPTURE(said.command);
        const auto answer = submit_answer(said.result);
        if (said.result.ok()) {
            CHECK(std::holds_alternative<Submitted>(answer));
            ++accepted;
        } else {
            REQUIRE(std::holds_alternative<Rejected>(answer));
            CHECK_FALSE(std::get<Rejected>(answer).text.empty());
            ++rejected;
        }
    }
    CHECK(accepted == 4);
    CHECK(rejected >= 18);
}

TEST_CASE("slurm errors: a controller that is down") {
    std::size_t seen = 0;
    for (const auto &said : recorded_commands("controller_down.txt")) {
        CAPTURE(said.command);
        CHECK(controller_silent(said.result.err + said.result.out));
        if (said.command.find("sbatch") == 0) {
            CHECK(std::holds_alternative<SubmitUnknown>(submit_answer(said.result)));
        } else {
            const Error error = slurm_error("x", said.result);
            CHECK(error.kind == ErrorKind::unreachable);
            CHECK_FALSE(error.hint.empty());
        }
        ++seen;
    }
    CHECK(seen >= 6);
}

TEST_CASE("slurm errors: what orders on forgotten and wrong things say") {
    struct Case { const char *command; ErrorKind kind; };
    const Case cases[] = {
        {"scontrol show job -o 999999", ErrorKind::not_found},
        {"scancel -s USR2 -b 999999", ErrorKind::not_found},
        {"scontrol update JobId=999999 NumNodes=1", ErrorKind::not_found},
        {"scontrol show node nosuch", ErrorKind::not_found},
    };
    for (const auto &[command, kind] : cases) {
        CAPTURE(command);
        const auto said = recorded_command("orders.txt", command);
        CHECK_FALSE(said.result.ok());
        CHECK(slurm_error("x", said.result).kind == kind);
    }
    CHECK(slurm_error("x", result(1, "", "scancel: error: Kill job error on job id 5: Access/permission denied")).kind ==
          ErrorKind::denied);
    CHECK(accounting_off("Slurm accounting storage is disabled\n"));
    CHECK_FALSE(accounting_off("sacct: error: Problem talking to the database: Connection refused"));
    CHECK(job_already_over("Job/step already completing or completed"));
}

TEST_CASE("slurm errors: a silent command is described by how it ended") {
    CHECK(said(result(3, "", "")) == "it ended with 3 and said nothing");
    CHECK(said(result(137, "", "")) == "it was killed by signal 9 and said nothing");
    CHECK(said(result(1, "out", " err\n")) == "err");
    CHECK(said(result(1, "", std::string(10000, 'x'))).size() < 4100);
}
