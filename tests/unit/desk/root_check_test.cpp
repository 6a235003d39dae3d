#include "desk/root_check.h"

#include "desk_room.h"

using namespace trainctl;

namespace {

// A file system with one thing wrong with it.
enum class Flaw { none, folders, links_again, no_links, rename_keeps, full };

struct FlawedFiles final : FaultyFiles {
    FlawedFiles(FaultPlan &plan, Flaw wrong) : FaultyFiles(plan), flaw(wrong) {}
    Flaw flaw;

    Result<bool> make_dir(const std::string &path) override {
        auto made = FaultyFiles::make_dir(path);
        return flaw == Flaw::folders ? Result<bool>{true} : made;
    }
    Result<bool> publish(const std::string &path, std::string_view text) override {
        if (flaw == Flaw::no_links)
            return Error{ErrorKind::denied, "cannot link: Operation not permitted", path, ""};
        if (flaw == Flaw::full)
            return Error{ErrorKind::no_space, "cannot write: No space left on device", path, "free some space"};
        if (flaw != Flaw::links_again)
            return FaultyFiles::publish(path, text);
        auto written = FaultyFiles::write(path, text);
        return written ? Result<bool>{true} : Result<bool>{written.error()};
    }
    Result<void> rename(const std::string &from, const std::string &to) override {
        return flaw == Flaw::rename_keeps ? FaultyFiles::remove(from) : FaultyFiles::rename(from, to);
    }
};

} // namespace

TEST_CASE("run root: one whose file system keeps no promises is refused, with what is wrong, and nothing is made there") {
    struct Row {
        Flaw flaw;
        ErrorKind kind;
        const char *words;
    };
    for (const auto &[flaw, kind, words] : {Row{Flaw::folders, ErrorKind::refused, "a folder that is there can be made again"},
                                            Row{Flaw::links_again, ErrorKind::refused, "a name that is there can be linked again"},
                                            Row{Flaw::no_links, ErrorKind::denied, "link() fails: cannot link: Operation not permitted"},
                                            Row{Flaw::rename_keeps, ErrorKind::refused, "a rename does not replace what is there"},
                                            Row{Flaw::full, ErrorKind::no_space, "No space left"}}) {
        CAPTURE(words);
        DeskRoom room;
        Actor desk{room.slurm, "desk"};
        FlawedFiles files{desk.plan, flaw};
        const auto refused = room.ask(desk, files, room.submit_request());
        REQUIRE(!refused);
        CHECK(refused.error().kind == kind);
        CHECK(refused.error().message.find(words) != std::string::npos);
        CHECK(refused.error().where == room.root);
        CHECK(!refused.error().hint.empty());
        CHECK(room.files.list(room.root + "/runs").value().empty());
        CHECK(room.files.list(room.root + "/.checked").value().empty());
        CHECK(room.slurm.jobs().empty());
        CHECK(room.answer(room.submit_request()).at("state") == "pending"); // once it is put right
    }
}

TEST_CASE("run root: it is tried once, and again where its file system is another") {
    TempDir folder;
    PosixFiles files;
    FakeSlurm slurm;
    Actor desk{slurm, "desk"};
    REQUIRE(check_root(desk.files, folder.path(), "nfs:1"));
    CHECK(desk.plan.effects > 4);
    CHECK(files.list(folder.path() + "/.checked").value().size() == 1);
    desk.plan.effects = 0;
    REQUIRE(check_root(desk.files, folder.path(), "nfs:1"));
    CHECK(desk.plan.effects == 0);
    REQUIRE(check_root(desk.files, folder.path(), "nfs:2"));
    CHECK(desk.plan.effects > 0);
    CHECK(!file_system_of(folder.path()).empty());
    CHECK(file_system_of(folder.path()) == file_system_of(folder.path()));
}
