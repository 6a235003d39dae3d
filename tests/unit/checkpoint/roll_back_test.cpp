#include "checkpoint/roll_back.h"

#include "base/text.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace trainctl;

namespace {

// Steps 10, 20, ...: whole ones.
struct Saved {
    TempDir dir;
    PosixFiles files;
    Checkpoint spec;

    explicit Saved(int count) {
        spec.manifest = "MANIFEST";
        for (int i = 1; i <= count; ++i)
            save(i * 10);
    }
    std::string path(int step) const { return join_path(dir.path(), fmt::format("step-{:06}", step)); }
    void save(int step) {
        REQUIRE(files.make_dirs(path(step)));
        REQUIRE(files.write(path(step) + "/weights", "12345"));
        REQUIRE(files.write(path(step) + "/MANIFEST", "5 weights\n"));
    }
    std::optional<std::int64_t> back(int count) {
        auto chosen = roll_back(files, dir.path(), spec, count, {});
        REQUIRE(chosen);
        return *chosen ? std::optional{(*chosen)->step} : std::nullopt;
    }
    std::string names() {
        auto all = files.list(dir.path()).value();
        std::sort(all.begin(), all.end());
        return join(all, " ");
    }
};

} // namespace

TEST_CASE("roll back: the newest ones are put aside, and no later start takes them") {
    Saved it{4};
    CHECK(it.back(2) == 20);
    CHECK(it.names() == "step-000010 step-000020 step-000030.rolled-back step-000040.rolled-back");
    CHECK(newest_complete(it.dir.path(), it.spec).value().newest->step == 20);
    it.save(30);
    CHECK(it.back(1) == 20);
    CHECK(it.names() == "step-000010 step-000020 step-000030.rolled-back step-000030.rolled-back.2 step-000040.rolled-back");
}

TEST_CASE("roll back: not before the oldest one, and over those that are not whole") {
    Saved it{3};
    REQUIRE(it.files.write(it.path(10) + "/weights", "123"));
    CHECK(it.back(9) == 20);
    CHECK(it.back(9) == 20); // the only whole one stays
    Saved none{0};
    CHECK(none.back(1) == std::nullopt);
}

TEST_CASE("roll back: where no older one holds what its manifest promises, it is an error, and nothing is put aside") {
    Saved it{2};
    const std::string wrong = "00000000000000000000000000000000000000000000000000000000000000aa 5 weights\n";
    REQUIRE(it.files.write(it.path(10) + "/MANIFEST", wrong));
    CHECK(!roll_back(it.files, it.dir.path(), it.spec, 1, {}));
    CHECK(it.names() == "step-000010 step-000020");
}
