#include "run/view.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

struct Folder {
    TempDir dir;
    PosixFiles files;
    RunPaths paths{dir.path(), RunId{"x"}};

    template <class T> void put(const std::string &path, const T &record) { REQUIRE(write_record_file(files, path, record)); }
    void attempt(int no) { REQUIRE(files.make_dirs(paths.attempt(AttemptNo{no}))); }
};

} // namespace

TEST_CASE("view: where things lie") {
    const RunPaths paths{"/r", RunId{"gpt-1"}};
    CHECK(paths.dir() == "/r/runs/gpt-1");
    CHECK(paths.attempt_file(AttemptNo{7}, "claim") == "/r/runs/gpt-1/attempts/007/claim");
    CHECK(paths.wish("stop") == "/r/runs/gpt-1/control/stop");
    CHECK(paths.journal("head-12") == "/r/runs/gpt-1/journal/head-12.jsonl");
    CHECK(claim_slot(0) == "claim");
    CHECK(claim_slot(2) == "claim.2");
    CHECK(intent_slot(0) == "intent.json");
    CHECK(intent_slot(1) == "intent.1.json");
}

TEST_CASE("view: a run that is not there yet is empty, not an error") {
    Folder f;
    const auto run = look_at_run(f.files, f.paths);
    REQUIRE(run);
    CHECK(run->attempts.empty());
    CHECK(run->last() == nullptr);
    CHECK(!run->ended);
    CHECK(!run->stop_wished());
    CHECK(run->find(AttemptNo{1}) == nullptr);
    CHECK(run->find(AttemptNo{0}) == nullptr);
}

TEST_CASE("view: everything of an attempt is seen") {
    Folder f;
    f.attempt(1);
    f.attempt(2);
    const auto file = [&](const char *name) { return f.paths.attempt_file(AttemptNo{1}, name); };
    Intent first, second;
    first.token = "aa";
    second.token = "bb";
    f.put(file("intent.json"), first);
    f.put(file("intent.1.json"), second);
    REQUIRE(f.files.write(file("rejected.aa"), "the first was refused"));
    f.put(file("job.json"), JobFile{JobId{5}, 1, "n1"});
    f.put(file("claim"), Claim{JobId{5}, 0, "n1", "", 1});
    f.put(file("claim.1"), Claim{JobId{5}, 1, "n2", "", 2});
    f.put(file("claim.2"), Claim{JobId{}, 0, "n3", "job 6", 3});
    f.put(file("progress.json"), ProgressFile{});
    f.put(file("verdict.json"), Verdict{});
    const auto run = look_at_run(f.files, f.paths);
    REQUIRE(run);
    REQUIRE(run->attempts.size() == 2);
    const auto &attempt = run->attempts[0];
    CHECK(attempt.intents.size() == 2);
    CHECK(!attempt.rejected); // it was another intent's
    CHECK(attempt.job->id == JobId{5});
    CHECK(attempt.claims.size() == 3);
    CHECK(attempt.sealed());
    CHECK(attempt.owner()->restarts == 1);
    CHECK(attempt.progress);
    CHECK(attempt.verdict);
    CHECK(!attempt.outcome);
    CHECK(run->last()->no == AttemptNo{2});
    CHECK(!run->last()->owner());
}

TEST_CASE("view: a hole in the listing does not hide an attempt, and other names are no attempts") {
    Folder f;
    f.attempt(3);
    for (const auto *name : {"1", "0004", "abc", "004.tmp"})
        REQUIRE(f.files.make_dirs(f.paths.attempts() + "/" + name));
    const auto run = look_at_run(f.files, f.paths);
    REQUIRE(run);
    CHECK(run->attempts.size() == 3);
    CHECK(run->find(AttemptNo{2})->no == AttemptNo{2});
}

TEST_CASE("view: wishes, the end, and ends that were retired by a resume") {
    Folder f;
    f.attempt(1);
    REQUIRE(f.files.make_dirs(f.paths.file("control")));
    REQUIRE(f.files.write(f.paths.wish("stop"), "{}"));
    f.put(f.paths.file("ended.json"), Ended{EndKind::failed, "why", AttemptNo{5}, 0});
    f.put(f.paths.file(retired_end(AttemptNo{2})), Ended{});
    f.put(f.paths.file(retired_end(AttemptNo{4})), Ended{});
    REQUIRE(f.files.write(f.paths.file("ended.json.n1.12.tmp"), ""));
    const auto run = look_at_run(f.files, f.paths);
    REQUIRE(run);
    CHECK(run->stop_wished());
    CHECK(run->ended->why == "why");
    CHECK(run->forgiven == AttemptNo{4});
}

TEST_CASE("view: a cancel is a wish without a save, and what can't be understood is a stop") {
    Folder f;
    f.attempt(1);
    REQUIRE(f.files.make_dirs(f.paths.file("control")));
    CHECK(look_at_run(f.files, f.paths)->end_wish == EndWish::none);
    struct Row { const char *text; EndWish wish; };
    for (const auto &[text, wish] : {Row{"{\"save\": false}", EndWish::cancel}, Row{"{\"save\": true}", EndWish::stop},
                                     Row{"{\"sa", EndWish::stop}, Row{"[]", EndWish::stop}, Row{"", EndWish::stop}}) {
        CAPTURE(text);
        REQUIRE(f.files.write(f.paths.wish("stop"), text));
        CHECK(look_at_run(f.files, f.paths)->end_wish == wish);
    }
}

TEST_CASE("view: an outcome that an earlier start of the job left is not the owner's") {
    Folder f;
    f.attempt(1);
    const auto file = [&](const char *name) { return f.paths.attempt_file(AttemptNo{1}, name); };
    Outcome outcome;
    outcome.job = JobId{5};
    f.put(file("outcome.json"), outcome);
    f.put(file("claim"), Claim{JobId{5}, 0, "n1", "", 1});
    CHECK(look_at_attempt(f.files, f.paths, AttemptNo{1})->outcome);
    f.put(file("claim.1"), Claim{JobId{5}, 1, "n1", "", 1}); // requeued: its ranks may live
    CHECK(!look_at_attempt(f.files, f.paths, AttemptNo{1})->outcome);
    outcome.restarts = 1;
    f.put(file("outcome.json"), outcome);
    f.put(file("claim.2"), Claim{JobId{}, 0, "n2", "job 6", 1});
    CHECK(look_at_attempt(f.files, f.paths, AttemptNo{1})->outcome);
}

TEST_CASE("view: a broken file of an attempt is a problem that names it, and the rest of the run shows") {
    for (const char *name : {"claim", "intent.json", "job.json", "progress.json", "outcome.json", "verdict.json"}) {
        for (const char *content : {"{\"id\": 5", "", "[1]", "{\"format\": 1000}", "\xff\xfe"}) {
            CAPTURE(name);
            CAPTURE(content);
            Folder f;
            f.attempt(1);
            f.attempt(2);
            f.put(f.paths.attempt_file(AttemptNo{2}, "claim"), Claim{JobId{6}, 0, "n1", "", 1});
            REQUIRE(f.files.write(f.paths.attempt_file(AttemptNo{1}, name), content));
            const auto run = look_at_run(f.files, f.paths);
            REQUIRE(run);
            REQUIRE(run->attempts.size() == 2);
            REQUIRE(run->attempts[0].problems.size() == 1);
            CHECK(run->attempts[0].problems[0].where.ends_with(std::string{"attempts/001/"} + name));
            CHECK(run->attempts[1].problems.empty());
            CHECK(run->attempts[1].owner()->id == JobId{6});
        }
    }
}

TEST_CASE("view: a claim or an intent that can't be read still takes its slot") {
    Folder f;
    f.attempt(1);
    const auto file = [&](const char *name) { return f.paths.attempt_file(AttemptNo{1}, name); };
    Intent second;
    second.token = "bb";
    REQUIRE(f.files.write(file("intent.json"), "{"));
    f.put(file("intent.1.json"), second);
    REQUIRE(f.files.write(file("claim"), "{"));
    f.put(file("claim.1"), Claim{JobId{}, 0, "n3", "job 6", 3});
    const auto attempt = look_at_attempt(f.files, f.paths, AttemptNo{1});
    REQUIRE(attempt);
    CHECK(attempt->intents.size() == 2);
    CHECK(attempt->claims.size() == 2);
    CHECK(attempt->sealed());
    REQUIRE(attempt->owner());
    CHECK(attempt->owner()->id == unreadable_owner);
    CHECK(!read_claims(f.files, f.paths, AttemptNo{1}));
}

TEST_CASE("view: progress that can't be read beats when its bytes change") {
    Folder f;
    f.attempt(1);
    const auto beat = [&](const char *content) {
        REQUIRE(f.files.write(f.paths.attempt_file(AttemptNo{1}, "progress.json"), content));
        return look_at_attempt(f.files, f.paths, AttemptNo{1})->beat;
    };
    CHECK(beat("{\"format\": 1, \"beat\": 7}") == 7);
    CHECK(beat("{\"beat\": ") == beat("{\"beat\": "));
    CHECK(beat("{\"beat\": 1") != beat("{\"beat\": 2"));
}

TEST_CASE("view: whether the run has ended must be known") {
    Folder f;
    REQUIRE(f.files.make_dirs(f.paths.dir()));
    REQUIRE(f.files.write(f.paths.file("ended.json"), "{"));
    const auto run = look_at_run(f.files, f.paths);
    REQUIRE(!run);
    CHECK(run.error().where.ends_with("ended.json"));
}
