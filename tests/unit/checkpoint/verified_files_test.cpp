#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/verified_files.h"
#include "support/temp_dir.h"

#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <utime.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

void put(const std::string &path, const std::string &text) { std::ofstream{path} << text; }

VerifiedFiles::Stamp stamp_of(const std::string &path) {
    struct stat seen{};
    REQUIRE(::stat(path.c_str(), &seen) == 0);
    return VerifiedFiles::stamp(seen);
}

// Clocks of file systems tick a few hundred times a second.
void put_later(const std::string &file, const std::string &text) {
    const auto before = stamp_of(file);
    while (stamp_of(file) == before)
        put(file, text);
}

struct Saved {
    TempDir dir;
    std::string file = dir / "step-1/model.pt";
    std::shared_ptr<VerifiedFiles> verified = std::make_shared<VerifiedFiles>();
    int pieces = 0;

    Saved() {
        std::filesystem::create_directory(dir / "step-1");
        put(file, "model");
        put(dir / "step-1/MANIFEST", sha256_hex("model") + " model.pt\n");
    }
    // As if it had been read an hour from now, when it had long been written.
    void keep() { verified->keep(file, stamp_of(file), sha256_hex("model"), std::chrono::system_clock::now() + 1h); }
    bool taken(std::uint64_t most = 1000) {
        pieces = 0;
        const auto choice = newest_complete(dir.path(), {}, {.max_bytes = most, .on_piece = [this] { ++pieces; }, .verified = verified});
        REQUIRE(choice);
        return choice->newest.has_value();
    }
};

} // namespace

TEST_CASE("verified files: one that was read and has settled is not read again") {
    Saved it;
    it.keep();
    CHECK(it.taken());
    CHECK(it.pieces == 0);
    CHECK(it.taken(0)); // nor does it count as read
}

TEST_CASE("verified files: one that was written a moment before it was read is read again") {
    Saved it;
    for (int i = 0; i < 2; ++i) {
        CHECK(it.taken());
        CHECK(it.pieces == 1);
    }
}

TEST_CASE("verified files: whatever befalls a file since makes it be read again") {
    const std::pair<const char *, void (*)(const std::string &)> cases[] = {
        {"same size, other content", [](const std::string &file) { put_later(file, "MODEL"); }},
        {"replaced by another file", [](const std::string &file) {
             put(file + ".new", "MODEL");
             std::filesystem::rename(file + ".new", file);
         }},
        {"its times set back", [](const std::string &file) {
             struct stat before{};
             REQUIRE(::stat(file.c_str(), &before) == 0);
             put_later(file, "MODEL");
             const utimbuf times{before.st_atime, before.st_mtime};
             REQUIRE(::utime(file.c_str(), &times) == 0);
         }},
    };
    for (const auto &[what, befall] : cases) {
        CAPTURE(what);
        Saved it;
        it.keep();
        befall(it.file);
        CHECK_FALSE(it.taken());
        CHECK(it.pieces == 1);
    }
}

TEST_CASE("verified files: a promise of other content is not met by a file that is known") {
    Saved it;
    it.keep();
    put(it.dir / "step-1/MANIFEST", sha256_hex("other") + " model.pt\n");
    CHECK_FALSE(it.taken());
    CHECK(it.pieces == 0);
}
