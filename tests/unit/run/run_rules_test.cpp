// The rules that failures of a run are judged by.
#include "run/run_rules.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <filesystem>

using namespace trainctl;

namespace {

const std::string severe = "rules:\n  - name: enospc\n    severity: 12\n";
const std::string flux = "rules:\n  - name: flux\n    pattern: 'flux capacitor empty'\n    class: storage-io\n    hint: Fill it.\n  - name: enospc\n    severity: 13\n";

} // namespace

TEST_CASE("run rules: the cluster's over the built-in ones, the run's own over both") {
    const TempDir root;
    PosixFiles files;
    const RunPaths paths{root.path(), RunId{"run-aaaaa"}};
    REQUIRE(files.make_dirs(paths.dir()));
    Recovery recovery;
    CHECK(load_run_rules(files, paths, recovery).book.rules == builtin_failures().rules);
    REQUIRE(files.write(paths.file(cluster_rules_file), severe));
    CHECK(load_run_rules(files, paths, recovery).book.find_rule("enospc")->severity == 12);
    REQUIRE(files.write(paths.file(own_rules_file), flux));
    const auto both = load_run_rules(files, paths, recovery);
    CHECK(both.problems.empty());
    CHECK(both.files == std::vector<std::string>{cluster_rules_file, own_rules_file});
    CHECK(both.book.find_rule("enospc")->severity == 13);
    CHECK(both.book.find_rule("flux")->hint == "Fill it.");
}

TEST_CASE("run rules: a file that is broken, gone or no file is left out and told, and the others hold") {
    const TempDir root;
    PosixFiles files;
    const RunPaths paths{root.path(), RunId{"run-aaaaa"}};
    REQUIRE(files.make_dirs(paths.dir()));
    REQUIRE(files.write(paths.file(cluster_rules_file), severe));
    Recovery recovery;
    recovery.rules = "/home/me/rules.yaml";
    const auto own = paths.file(own_rules_file);
    struct Case { const char *text, *problem; };
    for (const auto &[text, problem] : {Case{nullptr, "there is no such file"}, Case{"rules:\n  - name: a\n    pattern: '('\n    class: hang\n", ":3:14: RE2 does not take"},
                                        Case{"\xff\xfe\x00", ""}, Case{"rules: [", ""}, Case{"", "there is no list 'rules'"}}) {
        CAPTURE(problem);
        REQUIRE(files.remove(own));
        if (text != nullptr)
            REQUIRE(files.write(own, text));
        const auto rules = load_run_rules(files, paths, recovery);
        REQUIRE(rules.problems.size() == 1);
        CHECK(rules.problems[0].find(problem) != std::string::npos);
        CHECK(rules.files == std::vector<std::string>{cluster_rules_file});
        CHECK(rules.book.find_rule("enospc")->severity == 12);
    }
    REQUIRE(files.remove(own));
    REQUIRE(files.make_dirs(own));
    const auto rules = load_run_rules(files, paths, recovery);
    CHECK(rules.problems.size() == 1);
    CHECK(rules.book.rules.size() == builtin_failures().rules.size());
}
