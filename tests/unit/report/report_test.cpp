#include "report/report.h"

#include "base/text.h"
#include "report/terminal_text.h"
#include "golden.h"
#include "situations.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <limits>

using namespace trainctl;

namespace {

Json list_json() {
    Json runs = Json::array();
    runs.push_back({{"run", "gpt-k3f9x"}, {"state", "running"}, {"text", ""}, {"created", test_now - 4000}, {"attempts", 3}, {"step", 870},
                    {"total_steps", 1000}, {"loss", 2.3111}, {"rate", 3.4}, {"checkpoint_step", 850}, {"age_s", 3}});
    runs.push_back({{"run", "gpt-quiet"}, {"state", "running"}, {"text", ""}, {"created", test_now - 9000}, {"attempts", 1}, {"step", 12},
                    {"total_steps", nullptr}, {"loss", nullptr}, {"age_s", 95}});
    runs.push_back({{"run", "resnet50-a7"}, {"state", "failed"}, {"text", "3 failures in a row without a newer checkpoint (recovery.no_progress_max)"},
                    {"created", test_now - 90000}, {"attempts", 3}, {"step", 5}, {"loss", 6.9}, {"age_s", 80000}});
    runs.push_back({{"run", "hello-22222"}, {"state", "finished"}, {"text", "every rank ended with 0"}, {"created", test_now - 400000}, {"attempts", 1}});
    runs.push_back({{"run", "broken"}, {"state", "unknown"}, {"text", "it has no run.json"}, {"created", 0}, {"attempts", 0}});
    return {{"format", 1}, {"now", test_now}, {"runs", runs}};
}

Json checkpoints_json() {
    Json all = Json::array();
    all.push_back({{"name", "iter_0000300"}, {"path", "/scratch/gpt/checkpoints/iter_0000300"}, {"step", 300}, {"age_s", 12}, {"bytes", 1'240'000'000}, {"complete", false},
                   {"why_not", "latest_checkpointed_iteration.txt still says 200: its save has not ended"}});
    all.push_back({{"name", "iter_0000200"}, {"path", "/scratch/gpt/checkpoints/iter_0000200"}, {"step", 200}, {"age_s", 1812}, {"bytes", 13'300'000'000}, {"complete", true}, {"why_not", nullptr}});
    all.push_back({{"name", "iter_0000100"}, {"path", "/scratch/gpt/checkpoints/iter_0000100"}, {"step", 100}, {"age_s", 3612}, {"bytes", 13'300'000'000}, {"complete", true}, {"why_not", nullptr}});
    all.push_back({{"name", "last.ckpt"}, {"path", "/scratch/gpt/checkpoints/last.ckpt"}, {"step", nullptr}, {"age_s", 90'000}, {"bytes", 0}, {"complete", false}, {"why_not", "last.ckpt is empty"}});
    return {{"format", 1}, {"run", "gpt-k3f9x"}, {"dir", "/scratch/gpt/checkpoints"}, {"now", test_now}, {"newest_complete", "/scratch/gpt/checkpoints/iter_0000200"},
            {"older_not_shown", true}, {"checkpoints", all}};
}

Json checkpoint_json(const std::string &name, std::int64_t step, const std::string &why_not) {
    Json out{{"name", name}, {"path", "/scratch/gpt/checkpoints/" + name}, {"step", step}, {"age_s", 1000 - step}, {"bytes", step * 1'000'000}, {"complete", why_not.empty()}, {"why_not", nullptr}};
    if (!why_not.empty())
        out["why_not"] = why_not;
    return out;
}

// One that is being saved, one that was cut, one that lacks a shard, whole ones, and some that a roll back put aside; what `keep` removed
// is not there any more.
Json mixed_checkpoints_json() {
    return {{"format", 1}, {"run", "gpt-k3f9x"}, {"dir", "/scratch/gpt/checkpoints"}, {"now", test_now}, {"newest_complete", "/scratch/gpt/checkpoints/step-500"}, {"older_not_shown", false},
            {"put_aside", {"step-900.rolled-back", "step-1000.rolled-back"}},
            {"checkpoints",
             {checkpoint_json("step-800", 800, ".metadata is missing, which is written last"),
              checkpoint_json("step-700", 700, "__12_0.distcp has 1048576 bytes, and .metadata has items up to 734003200"),
              checkpoint_json("step-600", 600, "__3_0.distcp is missing (.metadata names it)"), checkpoint_json("step-500", 500, ""), checkpoint_json("step-400", 400, "")}}};
}

std::vector<std::string> all_texts(const ReportStyle &style) {
    std::vector<std::string> texts{list_text(list_json(), style), checkpoints_text(checkpoints_json(), style), checkpoints_text(mixed_checkpoints_json(), style)};
    for (const auto &[name, status] : situations()) {
        texts.push_back(status_text(status, style));
        texts.push_back(summary_text(status, style));
    }
    return texts;
}

bool has_control(const std::string &text) {
    for (const char c : text)
        if (const auto byte = static_cast<unsigned char>(c); (byte < 0x20 && c != '\n') || byte == 0x7f)
            return true;
    return false;
}

} // namespace

TEST_CASE("status: each situation reads as recorded") {
    for (const auto &[name, status] : situations())
        check_golden("status_" + name, status_text(status, plain));
}

TEST_CASE("summary: the story of a run reads as recorded") {
    check_golden("summary_finished", summary_text(finished_run(), plain));
    check_golden("summary_failed", summary_text(failed_run(), plain));
    check_golden("summary_running", summary_text(resumed_run(), plain));
}

TEST_CASE("list: runs read as recorded") {
    check_golden("list", list_text(list_json(), plain));
    CHECK(list_text({{"format", 1}, {"runs", Json::array()}}, plain).find("trainctl submit") != std::string::npos);
}

TEST_CASE("checkpoints: step, age, size and verdict read as recorded") {
    check_golden("checkpoints", checkpoints_text(checkpoints_json(), plain));
    check_golden("checkpoints_mixed", checkpoints_text(mixed_checkpoints_json(), plain));
    auto broken = mixed_checkpoints_json();
    broken["newest_complete"] = nullptr;
    broken["checkpoints"].erase(3);
    broken["checkpoints"].erase(3);
    const auto text = checkpoints_text(broken, plain);
    CHECK(text.find("complete  ") == std::string::npos);
    CHECK(text.find("None is complete: a restart begins anew.\n") != std::string::npos);
    auto aside = mixed_checkpoints_json();
    aside["checkpoints"] = Json::array();
    CHECK(checkpoints_text(aside, plain).find("Put aside by a roll back, and not gone on from: step-900.rolled-back,\nstep-1000.rolled-back\n") != std::string::npos);
    const auto none = checkpoints_text({{"run", "gpt-k3f9x"}, {"dir", "/scratch/gpt"}, {"names", {"iter_{step}"}}, {"checkpoints", Json::array()}}, plain);
    CHECK(none == "There are no checkpoints in /scratch/gpt (names looked for: iter_{step})\n");
}

TEST_CASE("report: no line is wider than the terminal, 100 columns at most") {
    for (const int width : {10, 60, 80, 100, 500})
        for (const auto &text : all_texts({false, width}))
            for (const auto &line : split_lines(text)) {
                CAPTURE(line);
                CHECK(columns(line) <= static_cast<std::size_t>(std::clamp(width, 60, 100)));
            }
}

TEST_CASE("report: colours come only when asked for, and change no letter") {
    const auto uncoloured = all_texts({false, 80}), coloured = all_texts({true, 80});
    for (std::size_t i = 0; i < coloured.size(); ++i) {
        CHECK_FALSE(has_control(uncoloured[i]));
        std::string stripped;
        for (std::size_t at = 0; at < coloured[i].size(); ++at) {
            if (coloured[i][at] == '\x1b')
                at = coloured[i].find('m', at);
            else
                stripped += coloured[i][at];
        }
        CHECK(stripped == uncoloured[i]);
        CHECK(stripped != coloured[i]);
    }
}

TEST_CASE("report: nothing that a training or Slurm says reaches the terminal as an order") {
    const std::string hostile = "\x1b]0;owned\x07\x1b[2J\x9b" "1m\xc2\x9b" "5m\r\x7f\tend \xe2\x80\xae" "evil \xff\xc3\n\x1b[31msecond";
    auto outcome = outcome_of(OutcomeKind::rank_failed, hostile, test_now - 5);
    outcome.first = raising_rank();
    outcome.first->node = hostile;
    outcome.first->last_lines = {hostile, std::string(3000, '\x08'), "caf\xc3\xa9 \xe2\x82\xac"};
    auto status = base_status("failed");
    status["attempts"] = {ended_attempt(1, outcome, hostile)};
    status["ended"] = to_json(Ended{EndKind::failed, hostile, AttemptNo{1}, test_now - 1});
    for (const char *key : {"run", "state", "text", "cluster", "dir"}) {
        CAPTURE(key);
        auto one = status;
        one[key] = hostile;
        for (const auto &text : {status_text(one, plain), summary_text(one, plain), list_text({{"now", test_now}, {"runs", {one}}}, plain)}) {
            CHECK_FALSE(has_control(text));
            CHECK(valid_utf8(text) == text);
            CHECK(text.find("\xc2\x9b") == std::string::npos);
            CHECK(text.find("\xe2\x80\xae") == std::string::npos);
        }
    }
    const auto text = status_text(status, plain);
    CHECK(text.find("\\x1b]0;owned\\x07\\x1b[2J\\x9b1m\\x9b5m") != std::string::npos);
    CHECK(text.find("| caf\xc3\xa9 \xe2\x82\xac\n") != std::string::npos); // other languages stay readable
}

TEST_CASE("report: an answer with missing or odd fields is still shown") {
    const std::vector<Json> odd_values{nullptr, 7, -1, 1e300, "text", "", true, Json::array(), Json::object(), 18446744073709551615ull,
                                       std::numeric_limits<std::int64_t>::min()};
    // Every field of the richest answers, replaced by each of these, or left out.
    for (const auto &[name, status] : situations()) {
        const auto flat = status.flatten();
        for (const auto &[path, unused] : flat.items()) {
            CAPTURE(path);
            for (const auto &value : odd_values) {
                auto odd = status;
                odd[Json::json_pointer{path}] = value;
                CHECK_FALSE(status_text(odd, plain).empty());
                CHECK_FALSE(summary_text(odd, plain).empty());
            }
        }
    }
    for (const auto &value : odd_values) {
        CHECK_FALSE(status_text(value, plain).empty());
        CHECK_FALSE(list_text(value, plain).empty());
        CHECK_FALSE(checkpoints_text(value, plain).empty());
        CHECK_FALSE(checkpoints_text({{"checkpoints", {value}}}, plain).empty());
        CHECK_FALSE(list_text({{"runs", {value}}}, plain).empty());
    }
}

TEST_CASE("status: what is not known is never called failed") {
    for (const auto &status : {blind_run(), silent_run()}) {
        const auto text = status_text(status, plain);
        CAPTURE(text);
        CHECK(text.find("fail") == text.find("failure)")); // Slurm's own "connect failure" only
        CHECK(text.find("last heard") != std::string::npos);
    }
    CHECK(status_text(running_run(), plain).find(" left") != std::string::npos);
    CHECK(status_text(silent_run(), plain).find(" left") == std::string::npos); // no estimate from old numbers
}

TEST_CASE("status: output that was lost is told, of which attempt") {
    Json status = base_status("running");
    status["attempts"].push_back(attempt_json(1, job_json(7, "running", "RUNNING"), true));
    status["attempts"][0]["progress"] = progress_json(120, {}, 2);
    CHECK(status_text(status, plain).find("could not be written") == std::string::npos);
    status["attempts"][0]["progress"]["dropped_lines"] = 7;
    CHECK(status_text(status, plain).find("7 lines of attempt 1 could not be written") != std::string::npos);
}

TEST_CASE("status: agents that go through srun are told of") {
    auto status = running_run();
    CHECK(status_text(status, plain).find("srun") == std::string::npos);
    status["attempts"][0]["progress"]["agents_by_srun"] = 2;
    CHECK(status_text(status, plain).find("network     2 agents reached through srun, not by TCP\n") != std::string::npos);
}

TEST_CASE("status: a long history is cut to its end, and says so") {
    auto status = failed_run();
    const Json one = status["attempts"][0];
    status["attempts"] = Json::array();
    for (int no = 1; no <= 50; ++no) {
        auto attempt = one;
        attempt["no"] = no;
        status["attempts"].push_back(attempt);
    }
    const auto text = status_text(status, plain);
    CHECK(text.find("38 attempts before these") != std::string::npos);
    CHECK(split_lines(text).size() < 40);
}

TEST_CASE("clean: controls are spelled out and the rest stays") {
    CHECK(clean("plain") == "plain");
    CHECK(clean("a\x80" "b") == "a\\x80b");
    CHECK(clean("\xe2\x82") == "\\xe2\\x82");
    CHECK(clean("\xef\xbf\xbd") == "\xef\xbf\xbd");
    CHECK(clean("a\tb") == "a    b");
    CHECK(clean(std::string("a\0b", 3)) == "a\\x00b");
}

TEST_CASE("wrap: breaks at blanks, and words that are too long") {
    CHECK(wrap("one two three", 7) == std::vector<std::string>{"one two", "three"});
    CHECK(wrap("abcdefgh ij", 3) == std::vector<std::string>{"abc", "def", "gh", "ij"});
    CHECK(wrap("", 5) == std::vector<std::string>{""});
}
