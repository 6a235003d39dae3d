#include "run/view.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

// Writing what was read must give the same document, and every field of `full` must differ from an empty record's.
template <class T> void round_trip(const T &full) {
    const Json json = to_json(full), empty = to_json(T{});
    for (const auto &[name, value] : json.items()) {
        CAPTURE(name);
        if (name != "format")
            CHECK(value != empty.at(name));
    }
    const auto back = from_json_text<T>(dump_json(json), "a file");
    REQUIRE(back);
    CHECK(dump_json(to_json(*back)) == dump_json(json));
    const auto defaults = from_json_text<T>(dump_json(empty), "a file");
    REQUIRE(defaults);
    CHECK(dump_json(to_json(*defaults)) == dump_json(empty));
}

RankExit some_exit() { return RankExit{3, 1, "n2", 9, 6, 12.5, false, {"Traceback", "ValueError: \"x\""}}; }

Outcome some_outcome(OutcomeKind kind) {
    Outcome outcome;
    outcome.kind = kind;
    outcome.text = "rank 3 died";
    outcome.exit_code = 7;
    outcome.ranks_dead = false;
    outcome.first = some_exit();
    outcome.suspect_nodes = {"n2"};
    outcome.signals = {"TERM 12.3 s after start"};
    outcome.checkpoint = "step-100";
    outcome.checkpoint_step = 100;
    outcome.last_step = 105;
    outcome.resumed_step = 50;
    outcome.written = 1'800'000'000;
    outcome.training_s = 60;
    outcome.setup_s = 5;
    outcome.generations = 4;
    outcome.failures = 2;
    outcome.job = JobId{12};
    outcome.restarts = 1;
    Failure failure;
    failure.failure_class = "gpu-ecc";
    failure.what = "what";
    failure.hint = "hint";
    failure.confidence = 0.95;
    failure.evidence = {{"logs/g01/n1.log", 12, "a \"line\"", "gpu-ecc", ""}};
    failure.rejected = {{"slurm", 0, "NODE_FAIL", "node-failure", "an echo"}};
    failure.suspects = {{"n1", 3, "its words", true}};
    failure.action = "without-node";
    failure.restart = "node-fault";
    failure.sign = "gpu-ecc: #";
    failure.step = 120;
    failure.attempt = 2;
    failure.generation = 4;
    failure.when = 1'800'000'000;
    failure.lost_s = 1.5;
    failure.ruling = RulingKind::hand_over;
    failure.reason = "why";
    failure.avoid = {"n1"};
    failure.roll_back = 1;
    failure.wait_s = 2.5;
    outcome.history = {failure, Failure{}};
    return outcome;
}

} // namespace

TEST_CASE("records: a failure comes back whole, and one of another version as far as it is known") {
    for (const auto &failure : some_outcome(OutcomeKind::rank_failed).history)
        CHECK(failure_from_json(to_json(failure)) == failure);
    auto json = to_json(Failure{});
    json["ruling"] = "ponder";
    json["later"] = 1;
    json.erase("suspects");
    CHECK(failure_from_json(json) == Failure{});
}

TEST_CASE("records: every field comes back") {
    RunInfo info{RunId{"gpt-a2b3c"}, "gpt", "me", "big", "0.1.0", "/r/bin/trainctl-agent-ab", "/r/code/cd.tar", "cd", "ef01", true,
                 {{"PATH", "/bin"}, {"ODD", "a\nb"}}, 1'800'000'000, 15.5, AgentNetwork::srun};
    round_trip(info);
    round_trip(Intent{"job 12 on n1", 1'800'000'000, "t0k3n", JobId{12}, {"--nodes=2", "--job-name=tc-x-001"}, {"n3"}});
    round_trip(JobFile{JobId{12}, 1'800'000'000, "n[1-2]"});
    round_trip(Claim{JobId{12}, 2, "n1", "job 13", 1'800'000'000});
    ProgressFile progress;
    progress.beat = 18'000'000'000'000'000'000u;
    progress.written = progress.training_since = 1'800'000'000;
    progress.generation = 2;
    progress.phase = "training";
    progress.step = progress.checkpoint_step = progress.resumed_step = 9'007'199'254'740'993;
    progress.total_steps = 100;
    progress.loss = 0.1;
    progress.rate = 3.25;
    progress.checkpoint = "step-100";
    progress.resumed_from = "step-50";
    progress.nodes = 2;
    progress.ranks = 16;
    progress.last_failure = "generation 1: rank 3 failed";
    progress.dropped_lines = 7;
    progress.agents_by_srun = 2;
    round_trip(progress);
    round_trip(some_outcome(OutcomeKind::lease_lost));
    round_trip(Abandoned{"n2", "the head is gone", 1'800'000'000});
    round_trip(Verdict{"rank failed", "text", "FAILED", "NonZeroExitCode", "sacct", {"n1"}, 1'800'000'000, "job 13"});
    round_trip(Ended{EndKind::stopped, "why", AttemptNo{3}, 1'800'000'000});
    round_trip(Event{"head-12", 5, 2, 3, 1'800'000'000'123, "claimed", Json{{"job", 12}}});
}

TEST_CASE("records: every outcome and every end has its own word") {
    for (const auto kind : {OutcomeKind::finished, OutcomeKind::rank_failed, OutcomeKind::node_lost, OutcomeKind::hang, OutcomeKind::setup_failed,
                            OutcomeKind::time_limit, OutcomeKind::terminated, OutcomeKind::stopped, OutcomeKind::do_not_restart,
                            OutcomeKind::lease_lost}) {
        const auto back = from_json_text<Outcome>(dump_json(to_json(some_outcome(kind))), "outcome.json");
        REQUIRE(back);
        CHECK(back->kind == kind);
    }
    for (const auto kind : {EndKind::finished, EndKind::failed, EndKind::stopped})
        CHECK(from_json_text<Ended>(dump_json(to_json(Ended{kind, "", AttemptNo{1}, 0})), "ended.json")->kind == kind);
}

TEST_CASE("records: unknown fields are accepted, a newer format and wrong types are refused with the field's name") {
    const auto accepted = from_json_text<JobFile>(R"({"format": 1, "job": 3, "colour": "blue"})", "job.json");
    REQUIRE(accepted);
    CHECK(accepted->id == JobId{3});

    struct Row { const char *text, *says; };
    for (const auto &[text, says] : {
             Row{R"({"format": 2, "job": 3})", "newer trainctl"},
             Row{R"({"format": "one", "job": 3})", "newer trainctl"},
             Row{R"({"job": "three"})", "'job'"},
             Row{R"({"job": 3, "nodes": 7})", "'nodes'"},
             Row{R"({"job": null})", "'job'"},
             Row{R"([1])", "not a JSON object"},
             Row{R"({"job": 3)", "job.json"},
             Row{"", "job.json"},
         }) {
        CAPTURE(text);
        const auto refused = from_json_text<JobFile>(text, "/r/job.json");
        REQUIRE(!refused);
        CHECK(refused.error().kind == ErrorKind::invalid);
        CHECK(refused.error().text().find(says) != std::string::npos);
        CHECK(refused.error().where.find("/r/job.json") == 0);
    }
    const auto word = from_json_text<Outcome>(R"({"kind": "melted"})", "outcome.json");
    REQUIRE(!word);
    CHECK(word.error().text().find("melted") != std::string::npos);
    CHECK(word.error().text().find("'kind'") != std::string::npos);
    const auto inner = from_json_text<Outcome>(R"({"first": {"rank": "zero"}})", "outcome.json");
    REQUIRE(!inner);
    CHECK(inner.error().text().find("'first'") != std::string::npos);
}

TEST_CASE("records: bytes that are no UTF-8 in a text do not keep it from being written and read") {
    Outcome outcome;
    outcome.text = "caf\xe9";
    const auto back = from_json_text<Outcome>(dump_json(to_json(outcome)), "outcome.json");
    REQUIRE(back);
    CHECK(back->text == "caf\xef\xbf\xbd");
}

namespace {

std::string line(const char *writer, std::uint64_t sequence, int attempt, int generation, std::int64_t wall_ms) {
    return dump_json(to_json(Event{writer, sequence, attempt, generation, wall_ms, "e", {}})) + "\n";
}

} // namespace

TEST_CASE("journal: order is attempt, generation, sequence, and never the wall clock") {
    const auto journal = read_journals({
        {"b.jsonl", line("b", 1, 2, 0, 1) + line("b", 2, 2, 1, 0)},
        {"a.jsonl", line("a", 3, 1, 0, 900) + line("a", 4, 1, 2, 800) + line("a", 5, 1, 1, 700)},
    });
    CHECK(journal.problems.empty());
    std::string order;
    for (const auto &event : journal.events)
        order += event.writer + std::to_string(event.sequence) + " ";
    CHECK(order == "a3 a5 a4 b1 b2 ");
}

TEST_CASE("journal: a torn last line is ignored, a torn line elsewhere is reported with its place") {
    const auto journal = read_journals({
        {"/j/torn-end.jsonl", line("a", 1, 1, 0, 0) + R"({"writer": "a", "seq)"},
        {"/j/torn-middle.jsonl", line("b", 1, 1, 0, 0) + "{\"wri\n" + line("b", 3, 1, 0, 0)},
        {"/j/torn-but-ended.jsonl", line("c", 1, 1, 0, 0) + "{\"wri\n"},
        {"/j/empty.jsonl", ""},
    });
    CHECK(journal.events.size() == 4);
    REQUIRE(journal.problems.size() == 2);
    CHECK(journal.problems[0].find("/j/torn-but-ended.jsonl:2") == 0);
    CHECK(journal.problems[1].find("/j/torn-middle.jsonl:2") == 0);
}
