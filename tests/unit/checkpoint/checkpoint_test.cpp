#include "checkpoint/checkpoint.h"

#include "base/hash.h"

#include <doctest/doctest.h>
#include <string>

using namespace trainctl;

namespace {

const std::string sha(64, 'a');

Checkpoint with(const std::string &marker, const std::string &manifest) {
    Checkpoint spec;
    spec.marker = marker;
    spec.manifest = manifest;
    return spec;
}

CheckpointSeen seen(std::int64_t step, bool complete = true) {
    CheckpointSeen one;
    one.path = "c/" + std::to_string(step);
    one.step = step;
    one.complete = complete;
    return one;
}

} // namespace

TEST_CASE("checkpoint names: only whole matches of the pattern have a step") {
    struct Row {
        const char *pattern, *name;
        std::optional<std::int64_t> step;
    };
    const std::vector<Row> rows = {
        {"step-{step}", "step-7", 7},
        {"step-{step}", "step-000120", 120},
        {"step-{step}", "step-0", 0},
        {"step-{step}", "step-", {}},
        {"step-{step}", "step-7.tmp", {}},
        {"step-{step}", "step-7.partial", {}},
        {"step-{step}", ".step-7", {}},
        {"step-{step}", "step--7", {}},
        {"step-{step}", "step-+7", {}},
        {"step-{step}", "step-7e3", {}},
        {"step-{step}", "step- 7", {}},
        {"step-{step}", "step-999999999999999999", 999999999999999999},
        {"step-{step}", "step-1000000000000000000", {}},
        {"step-{step}", "latest", {}},
        {"{step}", "12", 12},
        {"{step}", "", {}},
        {"ckpt_{step}.pt", "ckpt_12.pt", 12},
        {"ckpt_{step}.pt", "ckpt_12.pt.tmp", {}},
        {"ckpt_{step}.pt", "ckpt_.pt", {}},
        {"aa{step}aa", "aaa", {}},
        {"epoch=3-step={step}.ckpt", "epoch=3-step=40.ckpt", 40},
        {"no placeholder", "no placeholder", {}},
    };
    for (const auto &row : rows) {
        CAPTURE(row.pattern);
        CAPTURE(row.name);
        CHECK(step_of_name(row.pattern, row.name) == row.step);
    }
}

TEST_CASE("checkpoint names: ordered by number, not by text; equal steps by name") {
    const auto steps = steps_of_names("step-{step}", {"step-10", "step-9", "step-009", "junk", "step-9.tmp"});
    REQUIRE(steps.size() == 3);
    CHECK(steps[0].name == "step-009");
    CHECK(steps[1].name == "step-9");
    CHECK(steps[2].name == "step-10");
}

TEST_CASE("manifest: the three forms of a line, sha256sum's own included") {
    const auto entries = parse_manifest("12 model.pt\n" + sha + " a b.pt\n" + std::string(64, 'B') + " 3 deep/c\n" + sha +
                                        "  from sha256sum\n" + sha + " *binary\n" + sha + " 42\n");
    REQUIRE(entries);
    REQUIRE(entries->size() == 6);
    CHECK(entries->at(0).name == "model.pt");
    CHECK(entries->at(0).size == 12);
    CHECK(entries->at(0).sha256.empty());
    CHECK(entries->at(1).name == "a b.pt");
    CHECK(entries->at(1).sha256 == sha);
    CHECK(!entries->at(1).size);
    CHECK(entries->at(2).name == "deep/c");
    CHECK(entries->at(2).sha256 == std::string(64, 'b'));
    CHECK(entries->at(2).size == 3);
    CHECK(entries->at(3).name == "from sha256sum");
    CHECK(entries->at(4).name == "binary");
    CHECK(entries->at(5).name == "42");
}

TEST_CASE("manifest: anything doubtful is refused") {
    for (const std::string &text :
         {std::string{}, std::string{"\n"}, std::string{"12 a\n3 b"}, std::string{"12 a\n\n"}, std::string{"a\n"},
          std::string{"12 \n"}, std::string{"12\n"}, std::string{"-1 a\n"}, std::string{"12 /etc/passwd\n"},
          std::string{"12 ../a\n"}, std::string{"12 a/../b\n"}, std::string{"12 a//b\n"}, std::string{"12 ./a\n"},
          std::string{"99999999999999999999 a\n"}, std::string{"12 a\n12 a\n"}, std::string(63, 'a') + " a\n",
          sha + " 99999999999999999999 a\n"}) {
        CAPTURE(text);
        CHECK(!parse_manifest(text));
    }
}

TEST_CASE("verdict of a folder: marker, manifest, both, neither") {
    CheckpointFacts facts;
    facts.name = "step-1";
    facts.files = {{"a.pt", 5}, {"d/b.pt", 7}};

    CHECK(!judge_checkpoint(with("", ""), facts).complete);
    CHECK(judge_checkpoint(with("", ""), facts).why_not.find("checkpoint.marker") != std::string::npos);
    CHECK(!judge_checkpoint(with("OK", ""), facts).complete);
    facts.files["OK"] = 0;
    CHECK(judge_checkpoint(with("OK", ""), facts).complete);
    CHECK(!judge_checkpoint(with("", ""), facts).complete);
    facts.files["COMPLETE"] = 0;
    CHECK(judge_checkpoint(with("", ""), facts).complete);
    facts.files.erase("COMPLETE");

    facts.manifest_name = "LIST";
    CHECK(judge_checkpoint(with("OK", "LIST"), facts).why_not == "its manifest LIST is missing");
    facts.files["LIST"] = 20;
    facts.manifest = "5 a.pt\n7 d/b.pt\n";
    CHECK(judge_checkpoint(with("OK", "LIST"), facts).complete);
    facts.files.erase("OK");
    CHECK(judge_checkpoint(with("OK", "LIST"), facts).why_not == "its marker OK is missing");
    CHECK(judge_checkpoint(with("", "LIST"), facts).complete);
    facts.manifest = "5 a.pt\n";
    CHECK(judge_checkpoint(with("", "LIST"), facts).why_not == "d/b.pt is not in LIST, which may be cut short");
    facts.files[".nfs0001"] = 3;
    facts.files["d/.cache"] = 3;
    facts.manifest = "5 a.pt\n7 d/b.pt\n";
    CHECK(judge_checkpoint(with("", "LIST"), facts).complete);
    facts.manifest = "5 a.pt\n8 d/b.pt\n";
    CHECK(judge_checkpoint(with("", "LIST"), facts).why_not == "d/b.pt has 7 bytes, not 8 as in LIST");
    facts.manifest = "5 a.pt\n7 d/b.pt\n1 gone\n";
    CHECK(judge_checkpoint(with("", "LIST"), facts).why_not == "gone is missing (LIST names it)");
}

TEST_CASE("verdict of a single file: beside it lie its marker or its manifest") {
    CheckpointFacts facts;
    facts.name = "7.pt";
    facts.folder = false;
    facts.files = {{"7.pt", 5}};
    CHECK(!judge_checkpoint(with("", ""), facts).complete);
    CHECK(!judge_checkpoint(with(".ok", ""), facts).complete);
    facts.zip = true;
    CHECK(judge_checkpoint(with("", ""), facts).complete);
    facts.structure_problem = "7.pt: it is cut short";
    CHECK(!judge_checkpoint(with("", ""), facts).complete);
    facts.files["7.pt.ok"] = 0;
    CHECK(!judge_checkpoint(with(".ok", ""), facts).complete);
    facts.structure_problem.clear();
    CHECK(judge_checkpoint(with(".ok", ""), facts).complete);

    facts.files["7.pt.sum"] = 9;
    CHECK(manifest_of(with("", ".sum"), "7.pt", false, facts.files) == "7.pt.sum");
    facts.manifest_name = "7.pt.sum";
    facts.manifest = "5 7.pt\n";
    CHECK(judge_checkpoint(with("", ".sum"), facts).complete);
    facts.manifest = "9 7.pt.sum\n";
    CHECK(!judge_checkpoint(with("", ".sum"), facts).complete);
}

TEST_CASE("retention: the newest complete, anything newer and what is in use stay") {
    using Paths = std::vector<std::string>;
    const std::vector<CheckpointSeen> all = {seen(1), seen(2, false), seen(3), seen(4, false), seen(5), seen(6, false)};
    CHECK(checkpoints_to_remove(all, 0, {}).empty());
    CHECK(checkpoints_to_remove(all, -1, {}).empty());
    CHECK(checkpoints_to_remove(all, 1, {}) == Paths{"c/4", "c/3", "c/2", "c/1"});
    CHECK(checkpoints_to_remove(all, 2, {}) == Paths{"c/2", "c/1"});
    CHECK(checkpoints_to_remove(all, 2, {"c/1"}) == Paths{"c/2"});
    CHECK(checkpoints_to_remove(all, 3, {}).empty());
    CHECK(checkpoints_to_remove(all, 4, {}).empty());
    CHECK(checkpoints_to_remove({seen(1, false), seen(2, false)}, 1, {}).empty());
    CHECK(checkpoints_to_remove({}, 1, {}).empty());

    for (int count = 0; count < 64; ++count)
        for (int keep = 1; keep < 5; ++keep) {
            std::vector<CheckpointSeen> some;
            std::int64_t newest = -1;
            for (int bit = 0; bit < 6; ++bit) {
                some.push_back(seen(bit, (count >> bit & 1) != 0));
                newest = some.back().complete ? bit : newest;
            }
            CAPTURE(count);
            CAPTURE(keep);
            int complete_removed = 0;
            for (const auto &path : checkpoints_to_remove(some, keep, {})) {
                const auto step = std::stoll(path.substr(2));
                CHECK(step < newest);
                complete_removed += some[static_cast<std::size_t>(step)].complete ? 1 : 0;
            }
            CHECK(complete_removed == std::max(0, __builtin_popcount(static_cast<unsigned>(count)) - keep));
        }
}
