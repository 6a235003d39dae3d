#include "checkpoint/retention.h"

#include "base/files.h"
#include "base/hash.h"
#include "checkpoint/verified_files.h"
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

std::vector<std::string> names(const TempDir &dir) { return PosixFiles{}.list(dir.path()).value(); }

} // namespace

TEST_CASE("retention: the newest complete ones stay, with what is newer and what is resumed from") {
    const TempDir dir;
    for (int step = 10; step <= 60; step += 10)
        make_checkpoint(dir, step, step != 60);
    Checkpoint spec;
    spec.keep = 2;
    auto removed = remove_old_checkpoints(dir.path(), spec, {dir / "step-000010"});
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
    REQUIRE(remove_old_checkpoints(dir.path(), spec, {}));
    CHECK(names(dir).size() == 2);
    REQUIRE(PosixFiles{}.rename(dir / "step-000010", dir / ".trainctl-removing-step-000010"));
    spec.keep = 1;
    REQUIRE(remove_old_checkpoints(dir.path(), spec, {}));
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
    CHECK(remove_old_checkpoints(dir.path(), spec, {}, limits)->empty());
    CHECK(names(dir) == std::vector<std::string>{"step-000010", "step-000020"});
    save(15, "12345"); // after a resume from step 10
    CHECK(remove_old_checkpoints(dir.path(), spec, {}, limits)->size() == 1);
    CHECK(names(dir) == std::vector<std::string>{"step-000015", "step-000020"});
    save(30, "12345");
    CHECK(remove_old_checkpoints(dir.path(), spec, {}, limits)->size() == 2);
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
    REQUIRE(remove_old_checkpoints(dir.path(), spec, {}));
    CHECK(names(dir) == std::vector<std::string>{"model-2.pt", "model-2.pt.ok"});
}
