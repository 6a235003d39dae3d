#include "agent/progress_file.h"

#include "support/temp_dir.h"

#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

using namespace trainctl;

namespace {

void append(const std::string &path, const std::string &text) { std::ofstream{path, std::ios::app} << text; }
void rewrite(const std::string &path, const std::string &text) { std::ofstream{path, std::ios::trunc} << text; }

std::int64_t step_of(const std::optional<ProgressLine> &line) { return line && line->step ? *line->step : -1; }

} // namespace

TEST_CASE("progress file: the newest values of appended lines, each once") {
    TempDir dir;
    const auto path = dir / "p";
    ProgressFileReader reader{path};
    CHECK_FALSE(reader.poll()); // not there yet
    append(path, R"({"step": 1, "loss": 2.5, "rate": 10, "activity": "evaluation"})" "\n");
    CHECK(reader.poll() == ProgressLine{1, 2.5, 10, "evaluation"});
    CHECK_FALSE(reader.poll());
    append(path, "{\"step\": 2}\n{\"loss\": 2.25}\n");
    CHECK(reader.poll() == ProgressLine{2, 2.25, 10, ""});
    CHECK(reader.bad_lines() == 0);
}

TEST_CASE("progress file: a torn last line waits for its end, a whole one without newline does not") {
    TempDir dir;
    const auto path = dir / "p";
    ProgressFileReader reader{path};
    append(path, "{\"step\": 1}\n{\"step\": 2, \"lo");
    CHECK(step_of(reader.poll()) == 1);
    append(path, "ss\": 1.5");
    CHECK_FALSE(reader.poll());
    append(path, "}");
    CHECK(reader.poll() == ProgressLine{2, 1.5, {}, ""});
    append(path, "\n");
    CHECK_FALSE(reader.poll());
    append(path, "{\"step\": 3}\n");
    CHECK(step_of(reader.poll()) == 3);
    CHECK(reader.bad_lines() == 0);
}

TEST_CASE("progress file: one that is written anew each time, truncated or replaced is followed") {
    TempDir dir;
    const auto path = dir / "p";
    ProgressFileReader reader{path};
    for (int step = 8; step < 13; ++step) { // as long as before, and longer
        CAPTURE(step);
        rewrite(path, "{\"step\": " + std::to_string(step) + "}");
        CHECK(step_of(reader.poll()) == step);
    }
    rewrite(path, "{\"step\": 5}\n");
    CHECK(step_of(reader.poll()) == 5);
    rewrite(path, "");
    CHECK_FALSE(reader.poll());
    append(path, "{\"step\": 6}\n");
    CHECK(step_of(reader.poll()) == 6);
    for (int step = 7; step < 10; ++step) {
        rewrite(path + ".new", "{\"step\": " + std::to_string(step) + "}\n");
        REQUIRE(std::rename((path + ".new").c_str(), path.c_str()) == 0);
        CHECK(step_of(reader.poll()) == step);
    }
    REQUIRE(::unlink(path.c_str()) == 0);
    CHECK_FALSE(reader.poll());
    append(path, "{\"step\": 10}\n");
    CHECK(step_of(reader.poll()) == 10);
}

TEST_CASE("progress file: garbage, odd numbers and huge lines cost nothing but themselves") {
    TempDir dir;
    const auto path = dir / "p";
    ProgressFileReader reader{path};
    const struct {
        const char *line;
        ProgressLine want;
    } lines[] = {
        {R"({"step": 7, "loss": 2.0})", {7, 2.0, {}, ""}},
        {R"({"step": 8, "loss": NaN, "rate": -Infinity, "activity": "NaN \" Infinity"})", {8, {}, {}, "NaN \" Infinity"}},
        {R"({"step": 9.0, "loss": "2.1"})", {9, {}, {}, ""}},
        {R"({"step": 9.5, "loss": 3})", {9, 3.0, {}, ""}},
        {R"({"step": 99999999999999999999})", {9, 3.0, {}, ""}},
        {R"({"step": null, "activity": 4})", {9, 3.0, {}, ""}},
        {R"({"step": 1e999, "activity": "  a\u0007b "})", {9, 3.0, {}, "a b"}},
    };
    for (const auto &[line, want] : lines) {
        CAPTURE(line);
        append(path, std::string{line} + "\n");
        const auto got = reader.poll();
        if (std::string{line}.find("1e999") != std::string::npos && !got)
            continue; // out of range is no JSON for some
        CHECK(got == want);
    }
    const auto bad = reader.bad_lines();
    append(path, "step 5\n[1]\n\n{\"step\": 1\n" + std::string(1000, '\0') + "\n\xff\xfe\n");
    CHECK_FALSE(reader.poll());
    CHECK(reader.bad_lines() == bad + 5);
    append(path, "{\"step\": 10, \"x\": \"" + std::string(20000, 'x') + "\"}\n{\"step\": 11}\n");
    CHECK(step_of(reader.poll()) == 11);
    append(path, "{\"step\": 12, \"x\": \"" + std::string(200000, 'x')); // longer than is ever read
    CHECK_FALSE(reader.poll());
    append(path, "\"}\n{\"step\": 13}\n");
    CHECK(step_of(reader.poll()) == 13);
    append(path, std::string(5000, '[') + "\n{\"step\": 14, \"activity\": \"" + std::string(500, 'y') + "\"}\n");
    const auto long_name = reader.poll();
    REQUIRE(step_of(long_name) == 14);
    CHECK(long_name->activity.size() == 64);
}

TEST_CASE("progress file: of a long backlog the newest is read") {
    TempDir dir;
    const auto path = dir / "p";
    {
        std::ofstream out{path};
        for (int step = 0; step < 100000; ++step)
            out << "{\"step\": " << step << "}\n";
    }
    ProgressFileReader reader{path};
    CHECK(step_of(reader.poll()) == 99999);
    CHECK_FALSE(reader.poll());
    CHECK(reader.bad_lines() == 0);
}

TEST_CASE("progress file: pipes, folders and links to nowhere do not block") {
    TempDir dir;
    REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
    REQUIRE(::symlink("nowhere", (dir / "link").c_str()) == 0);
    for (const auto &name : {dir / "pipe", dir / "link", dir.path(), std::string{"/dev/zero"}, dir / "no/such/folder"}) {
        CAPTURE(name);
        ProgressFileReader reader{name};
        CHECK_FALSE(reader.poll());
        CHECK_FALSE(reader.poll());
    }
}

TEST_CASE("progress file: what was read is given back, and no writer notices") {
    const auto folder = make_progress_folder("test-" + std::to_string(::getpid()), {});
    REQUIRE(folder);
    const auto path = progress_path(*folder, 3);
    for (const int mode : {O_APPEND, 0}) {
        CAPTURE(mode);
        ProgressFileReader reader{path};
        Fd writer{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | mode, 0600)};
        const std::string filling(1000, ' ');
        for (int step = 0; step < 6000; ++step) {
            const std::string line = "{\"step\": " + std::to_string(step) + "}" + filling + "\n";
            REQUIRE(::write(writer.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()));
            if (step % 20 == 19)
                REQUIRE(step_of(reader.poll()) == step);
        }
        CHECK(reader.bad_lines() == 0);
        CHECK_FALSE(reader.poll());
        struct stat seen{};
        REQUIRE(::stat(path.c_str(), &seen) == 0);
        CHECK(seen.st_size > 6000000);
        CHECK(seen.st_blocks * 512 < 2500000);
    }
    remove_progress_folder(*folder);
    CHECK(::access(folder->c_str(), F_OK) != 0);
}

TEST_CASE("progress file: the folder is ours alone, made anew, and elsewhere where it can't be") {
    const std::string name = "test-" + std::to_string(::getpid());
    const auto folder = make_progress_folder(name, {});
    REQUIRE(folder);
    append(progress_path(*folder, 0), "{}\n");
    const auto again = make_progress_folder(name, {});
    REQUIRE(again);
    CHECK(*again == *folder);
    CHECK(::access(progress_path(*folder, 0).c_str(), F_OK) != 0);
    struct stat seen{};
    REQUIRE(::stat(folder->c_str(), &seen) == 0);
    CHECK((seen.st_mode & 0777) == 0700);
    remove_progress_folder(*folder);

    TempDir dir; // somebody's link is in the way: it is left alone
    REQUIRE(::symlink(dir.path().c_str(), folder->c_str()) == 0);
    append(dir / "precious", "x");
    const auto other = make_progress_folder(name, {{"TMPDIR", dir.path()}});
    CHECK(::unlink(folder->c_str()) == 0);
    REQUIRE(other);
    CHECK(other->rfind(dir.path() + "/", 0) == 0);
    CHECK(::access((dir / "precious").c_str(), F_OK) == 0);
    remove_progress_folder(*other);
}

TEST_CASE("progress file: what a dead agent left of this run on this node is removed, and nothing else") {
    TempDir dir;
    const Environment environment{{"TMPDIR", dir.path()}};
    const std::string ours = dir / ("trainctl-" + std::to_string(::geteuid()) + "-run-1-2-n1");
    const std::string others[] = {dir / ("trainctl-" + std::to_string(::geteuid()) + "-run-1-2-n2"),
                                  dir / ("trainctl-" + std::to_string(::geteuid()) + "-run-abcde-1-2-n1"),
                                  dir / ("trainctl-" + std::to_string(::geteuid()) + "-run-n1"), dir / "run-1-2-n1"};
    REQUIRE(::mkdir(ours.c_str(), 0700) == 0);
    append(ours + "/rank0.jsonl", "{}\n");
    for (const auto &other : others)
        REQUIRE(::mkdir(other.c_str(), 0700) == 0);
    remove_progress_folders("run", "n1", environment);
    CHECK(::access(ours.c_str(), F_OK) != 0);
    for (const auto &other : others)
        CHECK(::access(other.c_str(), F_OK) == 0);
}

TEST_CASE("progress file: whatever the writer does at random, the last whole line is what is read in the end") {
    for (unsigned seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        TempDir dir;
        const auto path = dir / "p";
        std::mt19937 random{seed};
        ProgressFileReader reader{path};
        int step = 0, seen = 0;
        for (int i = 0; i < 200; ++i) {
            const std::string line = "{\"step\": " + std::to_string(++step) + ", \"activity\": \"" + std::string(random() % 60, 'a') + "\"}\n";
            switch (random() % 8) {
            case 0: rewrite(path, line); break;
            case 1:
                rewrite(path + ".n", line);
                REQUIRE(std::rename((path + ".n").c_str(), path.c_str()) == 0);
                break;
            case 2:
                append(path, line.substr(0, line.size() / 2));
                if (const auto got = reader.poll(); got && got->step)
                    seen = static_cast<int>(*got->step);
                append(path, line.substr(line.size() / 2));
                break;
            default: append(path, line); break;
            }
            if (random() % 2 == 0)
                if (const auto got = reader.poll(); got && got->step)
                    seen = static_cast<int>(*got->step);
            REQUIRE(seen <= step);
        }
        append(path, "{\"step\": 1000}\n");
        CHECK(step_of(reader.poll()) == 1000);
    }
}
