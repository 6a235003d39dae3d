#include "run/journal.h"

#include "base/text.h"
#include "support/faults.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

// A disk that is full, but for what the reserve gives back.
class FullDisk final : public Files {
public:
    bool full = false;
    std::size_t torn = 0; // bytes that get through before a write fails

    Result<bool> make_dir(const std::string &path) override { return real_.make_dir(path); }
    Result<void> make_dirs(const std::string &path) override { return real_.make_dirs(path); }
    Result<std::optional<std::string>> read(const std::string &path) override { return real_.read(path); }
    Result<void> write(const std::string &path, std::string_view text) override { return real_.write(path, text); }
    Result<bool> publish(const std::string &path, std::string_view text) override { return real_.publish(path, text); }
    Result<void> append(const std::string &path, std::string_view text) override {
        if (!full)
            return real_.append(path, text);
        if (torn > 0)
            REQUIRE(real_.append(path, text.substr(0, torn)));
        return Error{ErrorKind::no_space, "no space left on device", path, ""};
    }
    Result<std::vector<std::string>> list(const std::string &path) override { return real_.list(path); }
    Result<void> rename(const std::string &from, const std::string &to) override { return real_.rename(from, to); }
    Result<void> remove(const std::string &path) override {
        if (base_name(path) == "reserve" && *real_.read(path))
            full = false;
        return real_.remove(path);
    }

private:
    PosixFiles real_;
};

struct Desk : RunStage {
    FullDisk disk;
    SlurmClock clock{slurm};

    Journal journal() {
        std::map<std::string, std::string> contents;
        const auto names = files.list(paths.file("journal"));
        for (const auto &name : *names)
            contents[name] = files.read(paths.file("journal/" + name)).value().value();
        return read_journals(contents);
    }
    std::string names() {
        std::vector<std::string> out;
        for (const auto &event : journal().events)
            out.push_back(event.name);
        return join(out, " ");
    }
};

} // namespace

TEST_CASE("journal writer: lines carry attempt and generation, and what others say of an attempt comes after it") {
    Desk desk;
    JournalWriter head{desk.disk, desk.clock, desk.paths, "job1.0", AttemptNo{1}}, other{desk.disk, desk.clock, desk.paths, "job2.0", AttemptNo{2}};
    REQUIRE(other.add("claimed", {}));
    REQUIRE(other.add(AttemptNo{1}, "verdict", {}));
    REQUIRE(head.add("first", {}));
    head.generation(2);
    REQUIRE(head.add("second", {}));
    CHECK(desk.names() == "first second verdict claimed");
    CHECK(desk.journal().events.at(1).generation == 2);
    CHECK(desk.journal().problems.empty());
}

TEST_CASE("journal writer: a line that a full disk tears does not swallow the next one") {
    for (const std::size_t torn : {std::size_t{0}, std::size_t{20}}) {
        CAPTURE(torn);
        Desk desk;
        JournalWriter writer{desk.disk, desk.clock, desk.paths, "job1.0", AttemptNo{1}};
        REQUIRE(writer.add("before", {}));
        desk.disk.full = true;
        desk.disk.torn = torn;
        CHECK(!writer.add("lost", {}));
        desk.disk.full = false;
        REQUIRE(writer.add("after", {}));
        REQUIRE(writer.add("later", {}));
        CHECK(desk.names() == "before after later");
        CHECK(desk.journal().problems.empty() == (torn == 0));
    }
}

TEST_CASE("journal writer: the reserve is given up for the first line that finds the disk full") {
    Desk desk;
    JournalWriter writer{desk.disk, desk.clock, desk.paths, "job1.0", AttemptNo{1}};
    REQUIRE(writer.keep_reserve());
    CHECK((*desk.files.read(desk.paths.reserve()))->size() >= 64 * 1024);
    desk.disk.full = true;
    REQUIRE(writer.add("last words", {}));
    CHECK(!*desk.files.read(desk.paths.reserve()));
    CHECK(desk.names() == "last words");
}
