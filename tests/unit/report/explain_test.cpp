// `explain` and `nodes` as text: each answer reads as recorded, and what comes from a log can't speak to the terminal.
#include "report/report.h"

#include "base/text.h"
#include "golden.h"
#include "situations.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

// A node that kills is left out, and then the training itself is wrong.
Json stopped_for_good() {
    const Json killed{{"class", "killed"}, {"what", "a rank was killed, and nobody says by whom"}, {"hint", ""}, {"confidence", 0.5}, {"ruling", "restart in place"},
                      {"reason", "without n2. Its node was named before"}, {"wait_s", 4.25},
                      {"evidence", Json::array({{{"source", "rank 3 on n2"}, {"line", 0}, {"text", "signal 9"}, {"class", "killed"}, {"why_not", ""}}})},
                      {"rejected", Json::array({{{"source", "logs/g01/n1.log"}, {"line", 88}, {"text", "connection reset by peer"}, {"class", "network"}, {"why_not", "an echo"}}})},
                      {"suspects", Json::array({{{"node", "n2"}, {"rank", 3}, {"why", "its rank died first"}, {"proven", false}}})}};
    const Json error{{"class", "py-error"}, {"what", "Python raised an error"}, {"hint", "Mend the line that the traceback names."}, {"confidence", 0.9}, {"ruling", "stop"},
                     {"reason", "the same error twice at step 410, and no newer checkpoint in between: it is deterministic"}, {"wait_s", 0},
                     {"evidence", Json::array({{{"source", "logs/g02/n1.log"}, {"line", 12}, {"text", "ValueError: batch has 3 dimensions, not 2"}, {"class", "py-error"}, {"why_not", ""}}})},
                     {"rejected", Json::array()}, {"suspects", Json::array()}};
    auto attempt = attempt_json(1, job_json(77, "gone", "FAILED"), true);
    attempt["generations"] = {
        {{"generation", 1}, {"nodes", {"n1", "n2"}}, {"resume_from", ""}, {"ended", {{"trained_s", 14.25}, {"text", "rank 3 on n2 was killed by signal 9"}}}, {"failure", killed}},
        {{"generation", 2}, {"nodes", {"n1", "n3"}}, {"resume_from", "/shared/ckpt/step-400"}, {"ended", {{"trained_s", 2.5}, {"text", "rank 0 on n1 exited with code 1"}}}, {"failure", error}}};
    attempt["outcome"] = {{"text", "rank 0 on n1 exited with code 1"}};
    auto answer = base_status("failed");
    answer["ended"] = {{"why", "Python raised an error Stopped: it is deterministic"}};
    answer["attempts"].push_back(attempt);
    answer["not_wasted"] = {{"tries", 1}, {"try_s", 62.5}, {"units", 16}, {"unit", "GPU"}, {"hours", 0.2778}, {"limit", 3}};
    return answer;
}

Json two_nodes() {
    const auto note = [](const char *node, const char *run, bool proven, bool avoided, const char *name, const char *why) {
        return Json{{"node", node}, {"run", run}, {"attempt", 2}, {"generation", 1}, {"proven", proven}, {"until", test_now + 7200},
                    {"when", test_now - 600}, {"class", name}, {"why", why}, {"avoided", avoided}};
    };
    return {{"format", 1}, {"now", test_now},
            {"notes", Json::array({note("n2", "gpt-k3f9x", false, true, "killed", "its rank died first"), note("n2", "vit-22222", false, true, "hang", "it stood still first"),
                                   note("n7", "gpt-k3f9x", true, true, "gpu-ecc", "GPU 3: an uncorrectable ECC error"), note("n9", "gpt-k3f9x", false, false, "hang", "it stood still first")})}};
}

} // namespace

TEST_CASE("explain: why a run was stopped, with evidence, decisions and what to do, reads as recorded") {
    check_golden("explain_stopped", explain_text(stopped_for_good(), plain));
}

TEST_CASE("explain: a run that finished is not told what to do") {
    auto answer = stopped_for_good();
    answer["state"] = "finished";
    answer["not_wasted"] = nullptr;
    const auto text = explain_text(answer, plain);
    CHECK(text.find("Mend the line") == std::string::npos);
    CHECK(text.find("resume") == std::string::npos);
}

TEST_CASE("explain: an attempt that only Slurm can tell of shows Slurm's word and the decision") {
    auto answer = base_status("pending");
    auto attempt = attempt_json(1, job_json(77, "gone", "NODE_FAIL"), true);
    attempt["generations"] = Json::array();
    attempt["failure"] = {{"class", "node-failure"}, {"what", "a node failed"}, {"confidence", 0.95}, {"ruling", "hand over"}, {"reason", "the next attempt leaves it out"},
                          {"evidence", Json::array({{{"source", "Slurm"}, {"line", 0}, {"text", "NODE_FAIL"}}})}, {"hint", "Nothing."}};
    attempt["verdict"] = {{"text", "the node of its head failed"}};
    answer["attempts"].push_back(attempt);
    const auto text = explain_text(answer, plain);
    CHECK(text.find("node-failure (95 % sure): a node failed") != std::string::npos);
    CHECK(text.find("Slurm: NODE_FAIL") != std::string::npos);
    CHECK(text.find("hand over: the next attempt leaves it out") != std::string::npos);
    CHECK(text.find("the node of its head failed") != std::string::npos);
}

TEST_CASE("explain, nodes: what a log says can't speak to the terminal") {
    auto answer = stopped_for_good();
    auto &failure = answer["attempts"][0]["generations"][1]["failure"];
    failure["evidence"][0]["text"] = "\x1b[2J\rValueError\x07";
    failure["hint"] = "\x1b]0;title\x07";
    auto notes = two_nodes();
    notes["notes"][0]["why"] = "\x1b[31mred";
    for (const auto &text : {explain_text(answer, plain), nodes_text(notes, plain), nodes_report(notes)})
        for (const char c : text)
            CHECK((static_cast<unsigned char>(c) >= 0x20 || c == '\n'));
}

TEST_CASE("nodes: those avoided and those suspected once, and the report for an administrator, read as recorded") {
    check_golden("nodes", nodes_text(two_nodes(), plain));
    check_golden("nodes_report", nodes_report(two_nodes()));
    CHECK(nodes_text({{"notes", Json::array()}}, plain) == "No node is suspected.\n");
    CHECK(nodes_report({{"notes", Json::array()}}) == "No node is suspected.\n");
}
