#include "base/files.h"
#include "base/text.h"
#include "support/temp_dir.h"

#include <atomic>
#include <csignal>
#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace trainctl;

namespace {

unsigned mode_of(const std::string &path) {
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    return info.st_mode & 0777u;
}

std::string content_of(const std::string &path) {
    auto content = PosixFiles{}.read(path);
    REQUIRE(content);
    REQUIRE(*content);
    return **content;
}

// A small file system of its own; nothing where this process may not mount.
class TinyDisk {
public:
    explicit TinyDisk(const std::string &path) : path_(path) {
        REQUIRE(::mkdir(path.c_str(), 0700) == 0);
        mounted = ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=64k") == 0;
    }
    ~TinyDisk() {
        if (mounted)
            ::umount2(path_.c_str(), MNT_DETACH);
    }
    TinyDisk(const TinyDisk &) = delete;
    TinyDisk &operator=(const TinyDisk &) = delete;
    bool mounted = false;

private:
    std::string path_;
};

} // namespace

TEST_CASE("files: a folder is made once, and everything is private") {
    TempDir dir;
    PosixFiles files;
    CHECK(files.make_dir(dir / "a").value());
    CHECK(!files.make_dir(dir / "a").value());
    REQUIRE(files.make_dirs(dir / "b/c/d"));
    REQUIRE(files.make_dirs(dir / "b/c/d"));
    REQUIRE(files.write(dir / "f", "x"));
    REQUIRE(files.append(dir / "g", "x"));
    CHECK(files.publish(dir / "h", "x").value());
    CHECK(mode_of(dir / "a") == 0700);
    CHECK(mode_of(dir / "b/c") == 0700);
    for (const auto *name : {"f", "g", "h"})
        CHECK(mode_of(dir / name) == 0600);
    CHECK(files.list(dir.path()).value() == std::vector<std::string>{"a", "b", "f", "g", "h"}); // nothing is left beside
}

TEST_CASE("files: what is not there is no error, what can't be is one") {
    TempDir dir;
    PosixFiles files;
    CHECK(!files.read(dir / "none").value());
    CHECK(!files.read(dir / "none/below").value());
    CHECK(files.list(dir / "none").value().empty());
    CHECK(files.remove(dir / "none").ok());
    CHECK(!files.write(dir / "none/f", "x"));
    CHECK(!files.publish(dir / "none/f", "x"));
    CHECK(!files.make_dir(dir / "none/d"));
    CHECK(!files.rename(dir / "none", dir / "other"));
    const auto unreadable = files.read(dir.path());
    REQUIRE(!unreadable);
    CHECK(unreadable.error().where == dir.path());
}

TEST_CASE("files: a file of the user is read up to a limit, whatever it is") {
    TempDir folder;
    PosixFiles files;
    const auto path = folder.path() + "/f";
    REQUIRE(files.write(path, "12345"));
    CHECK(read_at_most(path, 5).value() == "12345");
    CHECK(read_at_most(path, 4).error().kind == ErrorKind::invalid);
    CHECK(read_at_most("/dev/zero", 1u << 18).error().kind == ErrorKind::invalid);
    CHECK(read_at_most("/dev/null", 1u << 18).value() == "");
    CHECK(!read_at_most(folder.path() + "/none", 5).value());
}

TEST_CASE("files: append adds, write replaces, publish never does") {
    TempDir dir;
    PosixFiles files;
    REQUIRE(files.append(dir / "j", "a\n"));
    REQUIRE(files.append(dir / "j", "b\n"));
    CHECK(content_of(dir / "j") == "a\nb\n");
    REQUIRE(files.write(dir / "j", "c"));
    CHECK(content_of(dir / "j") == "c");
    CHECK(!files.publish(dir / "j", "d").value());
    CHECK(content_of(dir / "j") == "c");
    REQUIRE(files.rename(dir / "j", dir / "k"));
    CHECK(!files.read(dir / "j").value());
}

TEST_CASE("files: odd names and odd contents") {
    TempDir dir;
    PosixFiles files;
    const std::string content("a\0\xff\n", 4);
    for (const std::string name : {" ", "it's", "a\nb", "*", "-rf", "\xff\xfe", "$HOME", "a.tmp"}) {
        CAPTURE(name);
        REQUIRE(files.write(dir / name, content));
        CHECK(content_of(dir / name) == content);
        CHECK(!files.publish(dir / name, "x").value());
        REQUIRE(files.remove(dir / name));
    }
    CHECK(files.list(dir.path()).value().empty());
    CHECK(!files.write(dir / std::string(300, 'n'), "x"));
}

TEST_CASE("files: of many threads that publish one name exactly one wins, and its content stands") {
    TempDir dir;
    for (int round = 0; round < 20; ++round) {
        const auto path = dir / ("claim." + std::to_string(round));
        std::atomic<int> winners{0}, winner{-1}, ready{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&, i] {
                ++ready;
                while (ready < 8)
                    std::this_thread::yield();
                const auto ours = PosixFiles{}.publish(path, std::to_string(i));
                if (ours && *ours) {
                    ++winners;
                    winner = i;
                }
            });
        for (auto &thread : threads)
            thread.join();
        CHECK(winners == 1);
        CHECK(content_of(path) == std::to_string(winner));
    }
}

TEST_CASE("files: of many processes that publish or make one name exactly one wins") {
    TempDir dir;
    for (int round = 0; round < 5; ++round) {
        std::vector<pid_t> children;
        for (int i = 0; i < 6; ++i) {
            const pid_t child = ::fork();
            REQUIRE(child >= 0);
            if (child == 0) {
                PosixFiles files;
                const auto name = std::to_string(round);
                const auto claim = files.publish(dir / ("claim." + name), "x");
                const auto folder = files.make_dir(dir / ("folder." + name));
                ::_exit((claim && *claim ? 1 : 0) + (folder && *folder ? 2 : 0));
            }
            children.push_back(child);
        }
        int claims = 0, folders = 0;
        for (const pid_t child : children) {
            int status = 0;
            REQUIRE(::waitpid(child, &status, 0) == child);
            REQUIRE(WIFEXITED(status));
            claims += WEXITSTATUS(status) & 1;
            folders += (WEXITSTATUS(status) >> 1) & 1;
        }
        CHECK(claims == 1);
        CHECK(folders == 1);
    }
}

TEST_CASE("files: a writer that is killed at any moment leaves the old or the new content, whole") {
    TempDir dir;
    const auto path = dir / "progress.json";
    const std::string a(300'000, 'a'), b(200'000, 'b');
    REQUIRE(PosixFiles{}.write(path, a));
    for (int round = 0; round < 20; ++round) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0)
            for (;;) {
                (void)PosixFiles{}.write(path, b).ok();
                (void)PosixFiles{}.write(path, a).ok();
            }
        for (int i = 0; i < 5 + round; ++i) { // reading takes time: each round kills somewhere else
            const auto content = content_of(path);
            CHECK((content == a || content == b));
        }
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        const auto content = content_of(path);
        CHECK((content == a || content == b));
    }
}

TEST_CASE("files: a full disk is an error of its own kind, and what was there stays") {
    TempDir dir;
    TinyDisk disk{dir / "tiny"};
    if (!disk.mounted) {
        MESSAGE("skipped: no tmpfs can be mounted here");
        return;
    }
    PosixFiles files;
    const std::string big(100'000, 'x');
    const auto path = dir / "tiny/f";
    REQUIRE(files.write(path, "old"));
    const auto written = files.write(path, big);
    const auto published = files.publish(dir / "tiny/g", big);
    const auto appended = files.append(dir / "tiny/h", big);
    REQUIRE(!written);
    REQUIRE(!published);
    REQUIRE(!appended);
    CHECK(written.error().kind == ErrorKind::no_space);
    CHECK(published.error().kind == ErrorKind::no_space);
    CHECK(appended.error().kind == ErrorKind::no_space);
    CHECK(content_of(path) == "old");
    CHECK(!files.read(dir / "tiny/g").value());
    REQUIRE(files.remove(dir / "tiny/h"));
    CHECK(files.write(path, "new").ok()); // nothing was left beside that fills the disk
}

TEST_CASE("files: paths") {
    CHECK(join_path("/r", "a") == "/r/a");
    CHECK(join_path("/r/", "a") == "/r/a");
    CHECK(join_path("/r", "/a") == "/a");
    CHECK(join_path("", "a") == "a");
    CHECK(parent_path("/r/a") == "/r");
    CHECK(parent_path("/r") == "/");
    CHECK(parent_path("r") == ".");
    CHECK(base_name("/r/a") == "a");
    CHECK(base_name("a") == "a");
}
