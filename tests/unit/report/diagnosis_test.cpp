#include "report/report.h"

#include "base/files.h"
#include "failure/diagnosis_json.h"

#include <doctest/doctest.h>

using namespace trainctl;

TEST_CASE("diagnosis: what failed, how sure that is, its lines, and what was rejected; nothing that a terminal obeys") {
    Diagnosis diagnosis;
    diagnosis.failure_class = "cuda-oom";
    diagnosis.what = "A GPU had too little memory.";
    diagnosis.action = FailureAction::stop;
    diagnosis.confidence = .95;
    diagnosis.evidence = {{"cuda-oom-torch", "cuda-oom", "a.out", 7, 3, "CUDA \x1b[31mout of memory"}};
    diagnosis.suspects = {{"n3", 5, "", true, 2}};
    diagnosis.rejected = {{{"nccl-watchdog", "nccl-timeout", "a.out", 9, 1, "timeout"}, "an echo"}};
    CHECK(diagnosis_text(to_json(diagnosis), {}) ==
          "cuda-oom: A GPU had too little memory.\n"
          "  how sure    as good as certain (0.95)\n"
          "  do          stop: a restart does not help\n"
          "  evidence    a.out:7: CUDA \\x1b[31mout of memory (3 times)\n"
          "  suspects    n3, rank 5 (suspected 2 times before), proven\n"
          "  rejected    nccl-timeout (a.out:9): an echo\n");
}

TEST_CASE("diagnosis: the job that was looked at, what was read of it and what could not be") {
    Json job{{"id", "20_3"}, {"name", "tr\x1b[31main"}, {"state", "FAILED"}, {"reason", "NonZeroExitCode"}, {"exit_code", 1}, {"exit_signal", 0}, {"step_exit_code", 0},
             {"step_signal", 125}, {"nodes", "n[1-2]"}, {"failed_node", ""}, {"started", 1795437427}, {"ended", 1795437490}, {"restarts", 1},
             {"notes", Json::array({"Slurm knows 4 tasks of it"})}};
    const Json diagnosis{{"job", job}, {"logs", Json::array({{{"file", "/o/a.out"}, {"bytes", 1500}}})}, {"not_read", Json::array({"/o/a.err: you may not read it"})}};
    CHECK(job_text(diagnosis, {}) == "job 20_3 (tr\\x1b[31main): FAILED, NonZeroExitCode, exit code 1, its steps' highest: signal 125\n"
                                     "  nodes       n[1-2]\n"
                                     "  ran         2026-11-23T12:37:07Z to 2026-11-23T12:38:10Z, 1 m 03 s, after 1\n"
                                     "              requeue\n"
                                     "  read        /o/a.out, 1.5 kB\n"
                                     "  not read    /o/a.err: you may not read it\n"
                                     "  note        Slurm knows 4 tasks of it\n");
    CHECK(job_text({{"class", "none"}}, {}) == "");
}

TEST_CASE("diagnosis: the page on classes shows what the program does") {
    const auto page = PosixFiles{}.read(std::string{TRAINCTL_SOURCE_DIR} + "/core/failure/README.md");
    REQUIRE(page.ok());
    REQUIRE(page->has_value());
    CHECK((*page)->find(classes_text(classes_json(builtin_failures()))) != std::string::npos);
}
