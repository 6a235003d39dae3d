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

TEST_CASE("diagnosis: the page on classes shows what the program does") {
    const auto page = PosixFiles{}.read(std::string{TRAINCTL_SOURCE_DIR} + "/core/failure/README.md");
    REQUIRE(page.ok());
    REQUIRE(page->has_value());
    CHECK((*page)->find(classes_text(classes_json(builtin_failures()))) != std::string::npos);
}
