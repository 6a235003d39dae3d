#include "unit/snapshot/trees.h"

#include "support/temp_dir.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace trainctl {

namespace {

namespace fs = std::filesystem;

const Paths odd_names = {"new\nline", " space ", "-rf", "--files-from=x", "back\\slash", "q'\"uote", "\xff\xfe", "日本.py",
                         "*", "$(x)", "tab\t", "#", ":", "a:b", "~", "@list", "..."};

void touch_old(const std::string &path) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours{1000});
}

} // namespace

TEST_CASE("snapshot: without git, every file but .git and what is excluded") {
    TempDir dir;
    put_file(dir / "a.py", "a");
    put_file(dir / ".hidden", "h");
    put_file(dir / "sub/.git/config", "no repository, and not sent");
    put_file(dir / "sub/b.py", "b");
    put_file(dir / "data/x/y.bin", "excluded");
    put_file(dir / "c.pyc", "excluded");
    fs::create_directories(dir / "empty");
    const FileList list = listed(dir.path(), {"data/", "*.pyc"});
    CHECK(paths_of(list) == Paths{".hidden", "a.py", "sub/b.py"});
    CHECK_FALSE(list.from_git);
    CHECK(list.git_commit == "");
    CHECK_FALSE(list.git_dirty);
}

TEST_CASE("snapshot: every file of a work tree, when git is not wanted") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / ".gitignore", "*.log\n");
    put_file(dir / "a.log", "a");
    CHECK(paths_of(listed(dir.path())) == Paths{".gitignore"});
    const auto list = list_code({dir.path(), {}, false});
    REQUIRE(list.ok());
    CHECK(paths_of(*list) == Paths{".gitignore", "a.log"});
    CHECK_FALSE(list->from_git);
}

TEST_CASE("snapshot: odd names, links and executables survive, with git and without") {
    for (const bool with_git : {false, true}) {
        CAPTURE(with_git);
        TempDir dir;
        if (with_git)
            git_init(dir.path());
        Paths meant = odd_names;
        for (const auto &name : odd_names) {
            put_file(dir / name, "content of " + name);
            put_file(dir / ("dir " + name + "/x"), name, true);
            meant.push_back("dir " + name + "/x");
        }
        fs::create_symlink("-rf", dir / "link");
        fs::create_symlink("no\nwhere", dir / "dangling");
        fs::create_directory_symlink("dir -rf", dir / "to-dir");
        meant.insert(meant.end(), {"link", "dangling", "to-dir"});
        std::sort(meant.begin(), meant.end());
        const FileList list = listed(dir.path());
        CHECK(paths_of(list) == meant);
        CHECK(find_file(list, "dangling")->target == "no\nwhere");
        CHECK(find_file(list, "to-dir")->is_link);
        CHECK(find_file(list, "dir -rf/x")->executable);
    }
}

TEST_CASE("snapshot: the hash is of path, kind, executable bit and content, and of nothing else") {
    TempDir dir;
    for (const std::string place : {"one", "two"}) {
        put_file(dir / (place + "/a"), "x");
        put_file(dir / (place + "/b/c"), "y");
    }
    const std::string before = listed(dir / "one").hash;
    touch_old(dir / "two/a");
    REQUIRE(::chmod((dir / "two/a").c_str(), 0600) == 0);
    fs::create_directories(dir / "two/empty");
    CHECK(listed(dir / "two").hash == before);

    const auto changes = [&](auto change) {
        TempDir copy;
        fs::copy(dir / "one", copy / "x", fs::copy_options::recursive);
        change(copy / "x");
        return listed(copy / "x").hash;
    };
    CHECK(changes([](const std::string &) {}) == before);
    CHECK(changes([](const std::string &to) { put_file(to + "/a", "X"); }) != before);
    CHECK(changes([](const std::string &to) { put_file(to + "/a", "x", true); }) != before);
    CHECK(changes([](const std::string &to) { fs::rename(to + "/a", to + "/A"); }) != before);
    CHECK(changes([](const std::string &to) { put_file(to + "/new", ""); }) != before);
    CHECK(changes([](const std::string &to) { fs::remove(to + "/a"); }) != before);
    CHECK(changes([](const std::string &to) {
              fs::remove(to + "/a");
              fs::create_symlink("x", to + "/a");
          }) != before);
}

TEST_CASE("snapshot: what one field ends with is never taken for the next one's beginning") {
    const auto file = [](const std::string &path, const std::string &sha256) {
        CodeFile out;
        out.path = path;
        out.sha256 = sha256;
        return out;
    };
    CHECK(code_hash({file("a", "b1:1:c")}) != code_hash({file("ab", "1:1:c")}));
    CHECK(code_hash({file("a", "b"), file("c", "d")}) != code_hash({file("a", "b4:file1:-1:c1:01:d")}));
    CHECK(code_hash({file("a", "b")}) == code_hash({file("a", "b")}));
}

TEST_CASE("snapshot: sockets and fifos are left out and named") {
    TempDir dir;
    put_file(dir / "a", "a");
    REQUIRE(::mkfifo((dir / "fi\nfo").c_str(), 0600) == 0);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (dir / "socket").copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0);
    ::close(fd);
    const FileList list = listed(dir.path());
    CHECK(paths_of(list) == Paths{"a"});
    REQUIRE(list.warnings.size() == 1);
    CHECK(list.warnings[0].find("fi?fo, socket") != std::string::npos);
}

TEST_CASE("snapshot: a large one names its biggest files") {
    TempDir dir;
    for (int i = 1; i <= 6; ++i) {
        put_file(dir / ("f" + std::to_string(i)), "");
        fs::resize_file(dir / ("f" + std::to_string(i)), static_cast<std::uintmax_t>(i) * 5'000'000);
    }
    CHECK(listed(dir / "", {"f1"}).total_bytes == 100'000'000);
    CHECK(listed(dir.path(), {"f1"}).warnings.empty());
    const FileList list = listed(dir.path());
    REQUIRE(list.warnings.size() == 1);
    CAPTURE(list.warnings[0]);
    CHECK(list.warnings[0].find("the code is 105 MB; the biggest files are f6 (30 MB), f5 (25 MB), f4 (20 MB), f3 (15 MB), "
                                "f2 (10 MB);") == 0);
}

TEST_CASE("snapshot: a file or directory that can't be read is an error with its name") {
    if (::geteuid() == 0) {
        MESSAGE("skipped: root can read everything");
        return;
    }
    for (const bool with_git : {false, true}) {
        for (const std::string name : {"secret", "dir"}) {
            TempDir dir;
            if (with_git)
                git_init(dir.path());
            put_file(dir / "secret", "x");
            put_file(dir / "dir/x", "x");
            REQUIRE(::chmod((dir / name).c_str(), 0) == 0);
            const auto list = list_code({dir.path(), {}});
            REQUIRE(::chmod((dir / name).c_str(), 0700) == 0);
            REQUIRE_FALSE(list.ok());
            CHECK_MESSAGE(list.error().text().find(name) != std::string::npos, list.error().text());
        }
    }
}

TEST_CASE("snapshot: a folder that is not there, has nothing, or a pattern that makes no sense") {
    TempDir dir;
    const auto kind = [&](const std::string &folder, const Paths &exclude) {
        const auto list = list_code({folder, exclude});
        REQUIRE_FALSE(list.ok());
        return list.error().kind;
    };
    CHECK(kind(dir / "none", {}) == ErrorKind::not_found);
    CHECK(kind(dir.path(), {}) == ErrorKind::not_found);
    put_file(dir / "a", "a");
    CHECK(kind(dir / "a", {}) == ErrorKind::not_found);
    CHECK(kind(dir.path(), {"a"}) == ErrorKind::not_found);
    CHECK(kind(dir.path(), {"!a"}) == ErrorKind::invalid);
}

} // namespace trainctl
