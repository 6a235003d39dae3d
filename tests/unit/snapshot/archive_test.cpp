#include "unit/snapshot/trees.h"

#include "support/temp_dir.h"

#include <functional>
#include <random>
#include <unistd.h>

namespace trainctl {

namespace {

namespace fs = std::filesystem;

void put_tree(const std::string &folder) {
    put_file(folder + "/a.py", "print(1)\n");
    put_file(folder + "/run.sh", "#!/bin/sh\n", true);
    put_file(folder + "/empty", "");
    put_file(folder + "/lib/deep/er/b.py", std::string(1000, 'b'));
    fs::create_symlink("a.py", folder + "/link");
}

void save(const std::string &path, const std::string &bytes) { std::ofstream{path, std::ios::binary} << bytes; }

std::string random_text(std::mt19937_64 &random, std::size_t length, bool any_byte) {
    std::string text(length, '\0');
    for (char &c : text)
        do
            c = any_byte ? static_cast<char>(random()) : static_cast<char>('a' + random() % 26);
        while (c == '\0' || c == '/');
    return text;
}

// A folder of files and links with odd names, names around the limits of tar's header, and sizes around its blocks.
void random_tree(std::mt19937_64 &random, const std::string &folder) {
    const std::vector<std::size_t> sizes = {0, 1, 511, 512, 513, 1024, 262143, 262144, 262145, 700000};
    const std::vector<std::size_t> lengths = {1, 7, 98, 99, 100, 101, 155, 200, 255};
    for (int i = 0; i < 12; ++i) {
        std::string path = folder;
        for (auto depth = random() % 4; depth > 0; --depth)
            path += "/d" + random_text(random, lengths[random() % lengths.size()] % 200, random() % 2 == 0);
        fs::create_directories(path);
        path += "/f" + random_text(random, lengths[random() % lengths.size()] - 1, random() % 2 == 0);
        if (fs::exists(fs::symlink_status(path)))
            continue;
        if (random() % 4 == 0)
            fs::create_symlink(random_text(random, 1 + random() % 300, true), path);
        else
            put_file(path, random_text(random, sizes[random() % sizes.size()], true), random() % 2 == 0);
    }
}

} // namespace

TEST_CASE("archive: the same code has the same bytes, wherever and whenever") {
    TempDir dir;
    put_tree(dir / "one");
    put_tree(dir / "elsewhere/two");
    fs::last_write_time(dir / "one/a.py", fs::file_time_type::clock::now() - std::chrono::hours{99});
    fs::remove(dir / "one/link");
    fs::create_symlink("a.py", dir / "one/link");
    const std::string archive = all_pieces(listed(dir / "one"));
    CHECK(archive == all_pieces(listed(dir / "elsewhere/two")));
    CHECK(archive.size() == archive_bytes(listed(dir / "one")));

    save(dir / "x.tar", archive);
    const auto shown = run({"tar", "--utc", "-tvf", dir / "x.tar"});
    CHECK(shown.err == "");
    CHECK(shown.out == "-rw-r--r-- 0/0               9 1970-01-01 00:00 a.py\n"
                       "-rw-r--r-- 0/0               0 1970-01-01 00:00 empty\n"
                       "-rw-r--r-- 0/0            1000 1970-01-01 00:00 lib/deep/er/b.py\n"
                       "lrwxrwxrwx 0/0               0 1970-01-01 00:00 link -> a.py\n"
                       "-rwxr-xr-x 0/0              10 1970-01-01 00:00 run.sh\n");
}

TEST_CASE("archive: what is unpacked has the hash of what was listed") {
    std::mt19937_64 random{20261122};
    for (int round = 0; round < 12; ++round) {
        CAPTURE(round);
        TempDir dir;
        random_tree(random, dir / "code");
        const FileList list = listed(dir / "code");
        const std::string archive = all_pieces(list);
        CHECK(archive.size() == archive_bytes(list));
        save(dir / "x.tar", archive);
        const auto unpacked = unpack_archive(dir / "x.tar", dir / "work", list.hash);
        REQUIRE_MESSAGE(unpacked.ok(), (unpacked.ok() ? "" : unpacked.error().text()));
        CHECK(*unpacked);
        const FileList again = listed(dir / "work");
        CHECK(again.hash == list.hash);
        CHECK(paths_of(again) == paths_of(list));
    }
}

TEST_CASE("archive: hard links are sent as files of their own") {
    TempDir dir;
    put_file(dir / "code/a", "x");
    fs::create_hard_link(dir / "code/a", dir / "code/b");
    const FileList list = listed(dir / "code");
    save(dir / "x.tar", all_pieces(list));
    REQUIRE(unpack_archive(dir / "x.tar", dir / "work", list.hash).ok());
    CHECK(fs::hard_link_count(dir / "work/a") == 1);
    CHECK(get_file(dir / "work/b") == "x");
}

TEST_CASE("archive: pieces stay small") {
    TempDir dir;
    put_file(dir / "code/big", std::string(5u << 20, 'x'));
    ArchiveStream stream{listed(dir / "code")};
    std::size_t largest = 0, pieces = 0;
    for (;;) {
        const auto piece = stream.next_piece();
        REQUIRE(piece.ok());
        if (piece->empty())
            break;
        largest = std::max(largest, piece->size());
        ++pieces;
    }
    CHECK(largest <= 1u << 20);
    CHECK(pieces >= 5);
}

TEST_CASE("archive: a file that is not what was listed ends the stream with an error") {
    struct Case {
        std::string name;
        std::function<void(const std::string &)> change;
    };
    const std::vector<Case> cases = {
        {"same size", [](const std::string &dir) { put_file(dir + "/a.py", "print(2)\n"); }},
        {"grown", [](const std::string &dir) { put_file(dir + "/a.py", "print(1)\n\n"); }},
        {"shorter", [](const std::string &dir) { put_file(dir + "/a.py", "print(1)"); }},
        {"grown from nothing", [](const std::string &dir) { put_file(dir + "/empty", "x"); }},
        {"gone", [](const std::string &dir) { fs::remove(dir + "/a.py"); }},
        {"executable", [](const std::string &dir) { put_file(dir + "/a.py", "print(1)\n", true); }},
        {"a link now",
         [](const std::string &dir) {
             fs::rename(dir + "/a.py", dir + "/other");
             fs::create_symlink("other", dir + "/a.py");
         }},
        {"a fifo now",
         [](const std::string &dir) {
             fs::remove(dir + "/a.py");
             REQUIRE(::mkfifo((dir + "/a.py").c_str(), 0600) == 0);
         }},
        {"another target",
         [](const std::string &dir) {
             fs::remove(dir + "/link");
             fs::create_symlink("b.py", dir + "/link");
         }},
        {"no link any more",
         [](const std::string &dir) {
             fs::remove(dir + "/link");
             put_file(dir + "/link", "a.py");
         }},
    };
    for (const auto &[name, change] : cases) {
        CAPTURE(name);
        TempDir dir;
        put_tree(dir / "code");
        ArchiveStream stream{listed(dir / "code")};
        change(dir / "code");
        const auto first = stream.next_piece();
        REQUIRE_FALSE(first.ok());
        CHECK(first.error().where.find(dir / "code/") == 0);
        CHECK_FALSE(stream.next_piece().ok());
    }
}

TEST_CASE("archive: a file that changes while it is sent ends the stream with an error") {
    TempDir dir;
    put_file(dir / "code/big", std::string(3u << 20, 'x'));
    ArchiveStream stream{listed(dir / "code")};
    REQUIRE(stream.next_piece().ok());
    {
        std::fstream out{dir / "code/big", std::ios::in | std::ios::out | std::ios::binary};
        out.seekp(2u << 20);
        out << "y";
    }
    bool failed = false;
    for (int i = 0; i < 100 && !failed; ++i)
        failed = !stream.next_piece().ok();
    CHECK(failed);
}

TEST_CASE("unpack: a folder that is there is left alone") {
    TempDir dir;
    put_tree(dir / "code");
    const FileList list = listed(dir / "code");
    save(dir / "x.tar", all_pieces(list));
    put_file(dir / "work/mine", "x");
    const auto unpacked = unpack_archive(dir / "x.tar", dir / "work", list.hash);
    REQUIRE(unpacked.ok());
    CHECK_FALSE(*unpacked);
    CHECK(paths_of(listed(dir / "work")) == Paths{"mine"});
}

TEST_CASE("unpack: files get the present time and our umask, and the archive's path may be odd") {
    TempDir dir;
    put_tree(dir / "code");
    const std::string archive = dir / "host:-x y'.tar", work = dir / "wo:rk -C \n";
    const FileList list = listed(dir / "code");
    save(archive, all_pieces(list));
    const mode_t before = ::umask(077);
    const auto unpacked = unpack_archive(archive, work, list.hash);
    ::umask(before);
    REQUIRE_MESSAGE(unpacked.ok(), (unpacked.ok() ? "" : unpacked.error().text()));
    struct stat info {};
    REQUIRE(::stat((work + "/run.sh").c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0700);
    CHECK(info.st_mtime > 1'000'000'000);
    CHECK(info.st_uid == ::geteuid());
}

TEST_CASE("unpack: a damaged, wrong or missing archive is an error and leaves nothing") {
    TempDir dir;
    put_tree(dir / "code");
    const FileList list = listed(dir / "code");
    const std::string archive = all_pieces(list);
    std::string other = archive;
    other[512] = 'P'; // the first byte of a.py
    save(dir / "other.tar", other);
    save(dir / "noise.tar", std::string(5000, '\x5a'));
    Paths names = {"other.tar", "noise.tar", "none.tar"};
    for (std::size_t cut = 0; cut + 1024 < archive.size(); cut += 256) {
        names.push_back("cut" + std::to_string(cut));
        save(dir / names.back(), archive.substr(0, cut));
    }
    for (const auto &name : names) {
        CAPTURE(name);
        const auto unpacked = unpack_archive(dir / name, dir / "work", list.hash);
        REQUIRE_FALSE(unpacked.ok());
        CHECK(unpacked.error().kind == (name == "none.tar" ? ErrorKind::not_found : ErrorKind::invalid));
        CHECK(unpacked.error().where == dir / name);
    }
    for (const auto &entry : fs::directory_iterator{dir.path()})
        CHECK(entry.path().filename().string().find("work") == std::string::npos);
}

} // namespace trainctl
