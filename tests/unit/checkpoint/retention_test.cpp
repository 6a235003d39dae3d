#include "checkpoint/retention.h"

#include "base/files.h"
#include "base/hash.h"
#include "checkpoint/verified_files.h"
#include "support/faults.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace trainctl;

namespace {

void make_checkpoint(const TempDir &dir, int step, bool complete) {
    PosixFiles files;
    const auto folder = dir / fmt::format("step-{:06}", step);
    REQUIRE(files.make_dir(folder));
    REQUIRE(files.write(folder + "/state", "12345"));
    if (complete)
        REQUIRE(files.write(folder + "/MANIFEST", "5 state\n"));
}

PosixFiles &real_files() {
    static PosixFiles files;
    return files;
}

std::vector<std::string> names(const TempDir &dir) { return PosixFiles{}.list(dir.path()).value(); }

} // namespace

TEST_CASE("retention: the newest complete ones stay, with what is newer and what is resumed from") {
    const TempDir dir;
    for (int step = 10; step <= 60; step += 10)
        make_checkpoint(dir, step, step != 60);
    Checkpoint spec;
    spec.keep = 2;
    auto removed = remove_old_checkpoints(real_files(), dir.path(), spec, {dir / "step-000010"});
    REQUIRE(removed);
    std::sort(removed->begin(), removed->end());
    CHECK(*removed == std::vector<std::string>{dir / "step-000020", dir / "step-000030"});
    CHECK(names(dir) == std::vector<std::string>{"step-000010", "step-000040", "step-000050", "step-000060"});
}

TEST_CASE("retention: nothing is removed where nothing is configured, and leftovers of a removal go with the next") {
    const TempDir dir;
    make_checkpoint(dir, 10, true);
    make_checkpoint(dir, 20, true);
    Checkpoint spec;
    REQUIRE(remove_old_checkpoints(real_files(), dir.path(), spec, {}));
    CHECK(names(dir).size() == 2);
    REQUIRE(PosixFiles{}.rename(dir / "step-000010", dir / ".trainctl-removing-step-000010"));
    spec.keep = 1;
    REQUIRE(remove_old_checkpoints(real_files(), dir.path(), spec, {}));
    CHECK(names(dir) == std::vector<std::string>{"step-000020"});
}

TEST_CASE("retention: one of right sizes and wrong content does not count, and the last good one stays") {
    const TempDir dir;
    PosixFiles files;
    const auto save = [&](int step, const std::string &content) {
        const auto folder = dir / fmt::format("step-{:06}", step);
        REQUIRE(files.make_dir(folder));
        REQUIRE(files.write(folder + "/state", content));
        REQUIRE(files.write(folder + "/MANIFEST", sha256_hex("12345") + " 5 state\n"));
    };
    save(10, "12345");
    save(20, "1234x"); // its node died while it was written
    Checkpoint spec;
    spec.keep = 1;
    HashLimits limits;
    limits.verified = std::make_shared<VerifiedFiles>();
    CHECK(remove_old_checkpoints(real_files(), dir.path(), spec, {}, limits)->empty());
    CHECK(names(dir) == std::vector<std::string>{"step-000010", "step-000020"});
    save(15, "12345"); // after a resume from step 10
    CHECK(remove_old_checkpoints(real_files(), dir.path(), spec, {}, limits)->size() == 1);
    CHECK(names(dir) == std::vector<std::string>{"step-000015", "step-000020"});
    save(30, "12345");
    CHECK(remove_old_checkpoints(real_files(), dir.path(), spec, {}, limits)->size() == 2);
    CHECK(names(dir) == std::vector<std::string>{"step-000030"});
}

TEST_CASE("retention: single files go with their markers") {
    const TempDir dir;
    PosixFiles files;
    for (const auto *name : {"model-1.pt", "model-2.pt"}) {
        REQUIRE(files.write(dir / name, "x"));
        REQUIRE(files.write(dir / (std::string{name} + ".ok"), ""));
    }
    Checkpoint spec;
    spec.pattern = "model-{step}.pt";
    spec.marker = ".ok";
    spec.keep = 1;
    REQUIRE(remove_old_checkpoints(real_files(), dir.path(), spec, {}));
    CHECK(names(dir) == std::vector<std::string>{"model-2.pt", "model-2.pt.ok"});
}

TEST_CASE("retention: a single file goes with the parts that its manifest names, and not with what others may name too") {
    const TempDir dir;
    for (const std::string step : {"1", "10"}) {
        for (const auto &file : {"model-" + step + ".pt", "model-" + step + ".optim", "model-" + step + "-rng"})
            REQUIRE(real_files().write(dir / file, "12345"));
        REQUIRE(real_files().write(dir / ("model-" + step + ".pt.list"), "5 model-" + step + ".pt\n5 model-" + step + ".optim\n5 model-" + step + "-rng\n5 tokenizer\n"));
    }
    REQUIRE(real_files().write(dir / "tokenizer", "12345"));
    Checkpoint spec;
    spec.pattern = "model-{step}.pt";
    spec.manifest = ".list";
    spec.keep = 1;
    CHECK(remove_old_checkpoints(real_files(), dir.path(), spec, {})->size() == 1);
    CHECK(names(dir) == std::vector<std::string>{"model-10-rng", "model-10.optim", "model-10.pt", "model-10.pt.list", "tokenizer"});
    CHECK(newest_complete(dir.path(), spec)->newest);
}

TEST_CASE("retention: killed in the middle of a removal, at whatever moment, nothing that is left counts, and the next one finishes") {
    struct Row {
        const char *pattern, *marker, *manifest;
        bool folder;
    };
    for (const auto &row : {Row{"step-{step}", "", "MANIFEST", true}, Row{"*step-{step}*", "", "MANIFEST", true}, Row{"model-{step}.pt", ".done", ".list", false}, Row{"*-{step}.pt", "", ".list", false}})
        for (const auto mode : fault_modes)
            for (int at = 0; at < 64; ++at) {
                CAPTURE(row.pattern);
                CAPTURE(at);
                const TempDir dir{memory_folder()};
                Checkpoint spec;
                spec.pattern = row.pattern;
                spec.marker = row.marker;
                spec.manifest = row.manifest;
                spec.keep = 1;
                for (const std::string step : {"1", "2", "3"}) {
                    if (row.folder) {
                        const auto folder = dir / ("step-" + step);
                        REQUIRE(real_files().make_dirs(folder + "/deep/er"));
                        REQUIRE(real_files().write(folder + "/deep/er/state", "12345"));
                        REQUIRE(real_files().write(folder + "/MANIFEST", "5 deep/er/state\n"));
                        continue;
                    }
                    const auto file = "model-" + step + ".pt", part = "model-" + step + ".optim";
                    for (const auto &name : {file, part, file + ".done"})
                        REQUIRE(real_files().write(dir / name, "12345"));
                    REQUIRE(real_files().write(dir / (file + ".list"), "5 " + file + "\n5 " + part + "\n"));
                }
                FaultPlan plan{.at = at, .mode = mode};
                FaultyFiles files{plan};
                try {
                    (void)remove_old_checkpoints(files, dir.path(), spec, {}).ok();
                } catch (const Died &) {
                }
                // Step 3 is whole, and of the others each is as it was or none.
                const auto seen = list_checkpoints(dir.path(), spec);
                REQUIRE(seen);
                REQUIRE(!seen->empty());
                CHECK(seen->back().step == 3);
                CHECK(seen->back().complete);
                for (const auto &one : *seen)
                    if (one.complete && !row.folder)
                        CHECK(real_files().read(one.path.substr(0, one.path.size() - 3) + ".optim")->has_value());
                REQUIRE(remove_old_checkpoints(real_files(), dir.path(), spec, {}));
                const auto left = names(dir);
                CHECK(left.size() == (row.folder ? 1u : 4u));
                CHECK(std::all_of(left.begin(), left.end(), [](const auto &name) { return name.find("-3") != std::string::npos; }));
                if (!plan.met())
                    break;
            }
}

TEST_CASE("retention: what an interrupted removal left is no hindrance to removing a new one of its name") {
    const TempDir dir;
    make_checkpoint(dir, 10, true);
    REQUIRE(real_files().rename(dir / "step-000010", dir / ".trainctl-removing-step-000010"));
    for (const int step : {10, 20})
        make_checkpoint(dir, step, true);
    Checkpoint spec;
    spec.keep = 1;
    CHECK(remove_old_checkpoints(real_files(), dir.path(), spec, {})->size() == 1);
    CHECK(names(dir) == std::vector<std::string>{"step-000020"});
}
