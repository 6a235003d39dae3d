#include "checkpoint/checkpoint.h"

#include "base/files.h"
#include "base/hash.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <sys/stat.h>

using namespace trainctl;
namespace fs = std::filesystem;

namespace {

void put(const std::string &path, const std::string &content) {
    fs::create_directories(fs::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << content;
}

std::string little(std::uint64_t value, int width) {
    std::string bytes;
    for (int i = 0; i < width; ++i)
        bytes += static_cast<char>(value >> (8 * i) & 0xff);
    return bytes;
}

// A stored zip of two members; `inner` lets one zip hold another.
std::string zip_of(const std::string &first, const std::string &second) {
    std::string out, directory;
    for (const auto &[name, data] : {std::pair{std::string{"a/data.pkl"}, first}, std::pair{std::string{"a/0"}, second}}) {
        directory += "PK\1\2" + std::string(16, '\0') + little(data.size(), 4) + little(data.size(), 4) + little(name.size(), 2) +
                     std::string(12, '\0') + little(out.size(), 4) + name;
        out += "PK\3\4" + std::string(14, '\0') + little(data.size(), 4) + little(data.size(), 4) + little(name.size(), 2) +
               std::string(2, '\0') + name + data;
    }
    const auto at = out.size();
    out += directory;
    return out + "PK\5\6" + std::string(4, '\0') + little(2, 2) + little(2, 2) + little(directory.size(), 4) + little(at, 4) +
           std::string(2, '\0');
}

// Two files and a manifest with sizes and hashes.
void put_checkpoint(const std::string &path, const std::string &seed) {
    const std::string model = "model of " + seed, state = "sampler and step of " + seed;
    put(path + "/model.pt", model);
    put(path + "/parts/state.json", state);
    put(path + "/MANIFEST", fmt::format("{} {} model.pt\n{} {} parts/state.json\n", sha256_hex(model), model.size(),
                                        sha256_hex(state), state.size()));
}

std::string taken(const std::string &dir, const Checkpoint &spec) {
    const auto choice = newest_complete(dir, spec);
    REQUIRE(choice);
    return choice->newest ? base_name(choice->newest->path) : "";
}

} // namespace

TEST_CASE("newest checkpoint: cut at every byte of every file, the one before is taken") {
    const TempDir dir;
    put_checkpoint(dir / "step-10", "ten");
    put_checkpoint(dir / "step-9.tmp", "nine");
    for (const std::string setting : {"", "MANIFEST"}) {
        Checkpoint spec;
        spec.manifest = setting;
        put_checkpoint(dir / "step-0020", "twenty");
        REQUIRE(taken(dir.path(), spec) == "step-0020");
        for (const std::string name : {"model.pt", "parts/state.json", "MANIFEST"}) {
            const auto file = dir / "step-0020/" + name;
            for (auto size = fs::file_size(file); size-- > 0;) {
                CAPTURE(name);
                CAPTURE(size);
                fs::resize_file(file, size);
                REQUIRE(taken(dir.path(), spec) == "step-10");
            }
            fs::remove(file);
            CHECK(taken(dir.path(), spec) == "step-10");
            put_checkpoint(dir / "step-0020", "twenty");
        }
    }
}

TEST_CASE("newest checkpoint: same sizes, other content: refused by its hash, with a reason") {
    const TempDir dir;
    put_checkpoint(dir / "step-1", "one");
    put_checkpoint(dir / "step-2", "two");
    put(dir / "step-2/model.pt", "model of twO");
    const auto choice = newest_complete(dir.path(), {});
    REQUIRE(choice);
    REQUIRE(choice->newest);
    CHECK(choice->newest->step == 1);
    REQUIRE(choice->refused.size() == 1);
    CHECK(choice->refused[0].why_not == "the content of model.pt is not what MANIFEST promises");
    // Content is not read for a list, nor beyond the limit.
    CHECK(list_checkpoints(dir.path(), {})->at(1).complete);
    int pieces = 0;
    CHECK(newest_complete(dir.path(), {}, {.max_bytes = 11, .on_piece = [&] { ++pieces; }})->newest->step == 2);
    CHECK(pieces == 0);
    CHECK(newest_complete(dir.path(), {}, {.max_bytes = 1000, .on_piece = [&] { ++pieces; }})->newest->step == 1);
    CHECK(pieces > 0);
}

TEST_CASE("newest checkpoint: a zip as torch.save writes it, cut at every byte") {
    const TempDir dir;
    Checkpoint spec;
    spec.pattern = "{step}.pt";
    // A member that is itself a zip: a cut right behind it leaves an end record that is not the file's own.
    const std::string whole = zip_of("tensor", zip_of("inner", "zip") + std::string(3, 'x'));
    put(dir / "1.pt", whole);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CAPTURE(size);
        put(dir / "2.pt", whole.substr(0, size));
        REQUIRE(taken(dir.path(), spec) == "1.pt");
    }
    put(dir / "2.pt", whole + "x");
    CHECK(taken(dir.path(), spec) == "1.pt");
    put(dir / "2.pt", whole);
    CHECK(taken(dir.path(), spec) == "2.pt");

    SUBCASE("with a marker beside it the cut is still seen") {
        spec.marker = ".done";
        CHECK(taken(dir.path(), spec) == "");
        put(dir / "1.pt.done", "");
        CHECK(taken(dir.path(), spec) == "1.pt");
        put(dir / "2.pt.done", "");
        CHECK(taken(dir.path(), spec) == "2.pt");
        fs::resize_file(dir / "2.pt", whole.size() - 1);
        CHECK(taken(dir.path(), spec) == "1.pt");
    }
    SUBCASE("with a manifest beside it") {
        spec.manifest = ".sum";
        put(dir / "1.pt.sum", fmt::format("{}  1.pt\n", sha256_hex(whole)));
        CHECK(taken(dir.path(), spec) == "1.pt");
        put(dir / "2.pt.sum", fmt::format("{} 2.pt\n3 2.index\n", whole.size()));
        CHECK(taken(dir.path(), spec) == "1.pt");
        put(dir / "2.index", "abc");
        CHECK(taken(dir.path(), spec) == "2.pt");
    }
}

TEST_CASE("newest checkpoint: a folder with a marker, its zips looked at") {
    const TempDir dir;
    Checkpoint spec;
    spec.marker = "meta/COMPLETE";
    put(dir / "step-1/m.pt", zip_of("a", "b"));
    CHECK(taken(dir.path(), spec) == "");
    put(dir / "step-1/meta/COMPLETE", "");
    CHECK(taken(dir.path(), spec) == "step-1");
    fs::resize_file(dir / "step-1/m.pt", 60);
    CHECK(taken(dir.path(), spec) == "");
    CHECK(list_checkpoints(dir.path(), spec)->at(0).why_not.find("m.pt: ") == 0);
}

TEST_CASE("list of checkpoints: no folder is none; odd things are refused or not seen, never an error") {
    const TempDir dir;
    CHECK(list_checkpoints(dir / "none", {})->empty());
    put(dir / "file", "x");
    CHECK(!list_checkpoints(dir / "file", {}));

    const std::string where = dir / "c";
    put_checkpoint(where + "/step-3", "three");
    fs::create_directories(where + "/step-4");
    put(where + "/step-5", "");
    fs::create_symlink("nowhere", where + "/step-6");
    REQUIRE(::mkfifo((where + "/step-7").c_str(), 0600) == 0);
    fs::create_symlink("step-3", where + "/step-8");
    put_checkpoint(where + "/step-9", "nine");
    fs::create_symlink("..", where + "/step-9/loop");
    fs::create_symlink("step-3", where + "/latest");
    const auto seen = list_checkpoints(where, {});
    REQUIRE(seen);
    REQUIRE(seen->size() == 7);
    for (const auto &one : *seen) {
        CAPTURE(one.path);
        CAPTURE(one.why_not);
        CHECK(one.complete == (one.step == 3 || one.step == 8));
        CHECK(one.complete == one.why_not.empty());
    }
    CHECK(seen->at(0).bytes > 100);
    CHECK(unix_seconds(seen->at(0).modified) > 1'500'000'000);
    CHECK(taken(where, {}) == "step-8");
}

TEST_CASE("newest checkpoint: thousands of them, and only the newest are opened") {
    const TempDir dir;
    for (int step = 0; step < 2'000; ++step)
        fs::create_directory(dir / fmt::format("step-{}", step));
    put_checkpoint(dir / "step-1998", "x");
    const auto choice = newest_complete(dir.path(), {});
    REQUIRE(choice);
    REQUIRE(choice->newest);
    CHECK(choice->newest->step == 1998);
    CHECK(choice->refused.size() == 1);
    CHECK(list_checkpoints(dir.path(), {})->size() == 2'000);
}
