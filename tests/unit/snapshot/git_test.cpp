#include "unit/snapshot/trees.h"

#include "support/temp_dir.h"

#include <cstdlib>

namespace trainctl {

namespace {

namespace fs = std::filesystem;

class Variable {
public:
    Variable(std::string name, const std::string &value) : name_(std::move(name)), before_(own_variable(name_.c_str(), "-")) {
        ::setenv(name_.c_str(), value.c_str(), 1);
    }
    ~Variable() { before_ == "-" ? ::unsetenv(name_.c_str()) : ::setenv(name_.c_str(), before_.c_str(), 1); }
    Variable(const Variable &) = delete;
    Variable &operator=(const Variable &) = delete;

private:
    std::string name_, before_;
};

} // namespace

TEST_CASE("snapshot: in a work tree, what git does not ignore, as it is on disk") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / ".gitignore", "*.log\n/data/\n");
    put_file(dir / "train.py", "one");
    put_file(dir / "gone.py", "x");
    put_file(dir / "lib/model.py", "model");
    put_file(dir / "tool.sh", "#!/bin/sh\n", true);
    git_commit(dir.path());
    put_file(dir / "train.py", "edited");
    fs::remove(dir / "gone.py");
    put_file(dir / "new.py", "new");
    put_file(dir / "debug.log", "ignored");
    put_file(dir / "data/big.bin", "ignored");
    put_file(dir / "weights.pt", "excluded");

    const FileList list = listed(dir.path(), {"*.pt"});
    CHECK(paths_of(list) == Paths{".gitignore", "lib/model.py", "new.py", "tool.sh", "train.py"});
    CHECK(find_file(list, "train.py")->size == 6);
    CHECK(find_file(list, "tool.sh")->executable);
    CHECK_FALSE(find_file(list, "train.py")->executable);
    CHECK(list.from_git);
    CHECK(list.git_commit + "\n" == git(dir.path(), {"rev-parse", "HEAD"}));
    CHECK(list.git_dirty);
    CHECK(list.git_diff.find("-one\n") != std::string::npos);
    CHECK(list.git_diff.find("+edited\n") != std::string::npos);
    CHECK(list.total_bytes == 13 + 5 + 3 + 10 + 6);
    CHECK(list.warnings.empty());
}

TEST_CASE("snapshot: clean, new files only, and no commit yet") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / "a", "a");
    const FileList before = listed(dir.path());
    CHECK(before.git_commit == "");
    CHECK(before.git_dirty);
    git_commit(dir.path());
    const FileList clean = listed(dir.path());
    CHECK_FALSE(clean.git_dirty);
    CHECK(clean.git_diff == "");
    CHECK(clean.hash == before.hash);
    put_file(dir / "b", "b");
    const FileList with_new = listed(dir.path());
    CHECK(with_new.git_dirty);
    CHECK(with_new.git_diff == "");
    CHECK(with_new.git_commit == clean.git_commit);
}

TEST_CASE("snapshot: the diff that is kept has a bound") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / "a", "");
    git_commit(dir.path());
    std::string text;
    while (text.size() < (3u << 20))
        text += "a line of text\n";
    put_file(dir / "a", text);
    const FileList list = listed(dir.path());
    CHECK(list.git_diff.size() == 1u << 20);
    CHECK(list.git_diff_cut);
    REQUIRE(list.warnings.size() == 1);
    CHECK(list.warnings[0].find("cut at 1") != std::string::npos);
}

TEST_CASE("snapshot: a diff that takes too long is left out aloud, and the code is listed") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / "a", "one\n");
    git_commit(dir.path());
    git(dir.path(), {"config", "filter.slow.clean", "sleep 60; cat"});
    put_file(dir / ".gitattributes", "a filter=slow\n");
    put_file(dir / "a", "another\n");
    SnapshotSpec spec{dir.path(), {}};
    spec.diff_limit = std::chrono::milliseconds{300};
    const auto list = list_code(spec);
    REQUIRE(list);
    CHECK(list->git_diff_cut);
    CHECK(list->git_dirty);
    CHECK(list->git_diff == "");
    REQUIRE(list->warnings.size() == 1);
    CHECK(list->warnings[0].find("git diff") != std::string::npos);
}

TEST_CASE("snapshot: a folder inside a repository, and a linked work tree") {
    TempDir dir;
    git_init(dir / "repo");
    put_file(dir / "repo/.gitignore", "*.log\n");
    put_file(dir / "repo/outside.py", "x");
    put_file(dir / "repo/sub/in.py", "x");
    git_commit(dir / "repo");
    put_file(dir / "repo/sub/x.log", "x");
    put_file(dir / "repo/outside.py", "edited");
    const FileList sub = listed(dir / "repo/sub");
    CHECK(paths_of(sub) == Paths{"in.py"});
    CHECK_FALSE(sub.git_dirty);

    git(dir / "repo", {"worktree", "add", "--quiet", dir / "tree"});
    const FileList tree = listed(dir / "tree");
    CHECK(paths_of(tree) == Paths{".gitignore", "outside.py", "sub/in.py"});
    CHECK(tree.from_git);
    CHECK(listed(dir / "tree/sub").hash == sub.hash);
}

TEST_CASE("snapshot: submodules and repositories inside are parts of the folder, with their own rules") {
    TempDir dir;
    git_init(dir / "lib");
    put_file(dir / "lib/.gitignore", "*.tmp\n");
    put_file(dir / "lib/lib.py", "lib");
    git_commit(dir / "lib");
    git_init(dir / "repo");
    put_file(dir / "repo/main.py", "main");
    git(dir / "repo", {"submodule", "--quiet", "add", dir / "lib", "third party/lib"});
    git(dir / "repo", {"submodule", "--quiet", "add", dir / "lib", "other"});
    git_commit(dir / "repo");
    put_file(dir / "repo/third party/lib/x.tmp", "ignored");
    put_file(dir / "repo/third party/lib/new.py", "new");
    git(dir / "repo", {"submodule", "--quiet", "deinit", "--force", "other"});
    git_init(dir / "repo/nested");
    put_file(dir / "repo/nested/n.py", "n");

    const FileList list = listed(dir / "repo");
    CHECK(paths_of(list) == Paths{".gitmodules", "main.py", "nested/n.py", "third party/lib/.gitignore",
                                  "third party/lib/lib.py", "third party/lib/new.py"});
    REQUIRE(list.warnings.size() == 1);
    CHECK(list.warnings[0].find("submodule other is not checked out") != std::string::npos);
    CHECK(list.git_dirty);
}

TEST_CASE("snapshot: a directory that became a link is sent as the link") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / "code/a.py", "a");
    put_file(dir / "code-b.py", "b");
    git_commit(dir.path());
    fs::rename(dir / "code", dir / "moved");
    fs::create_symlink("moved", dir / "code");
    const FileList list = listed(dir.path());
    CHECK(paths_of(list) == Paths{"code", "code-b.py", "moved/a.py"});
    CHECK(find_file(list, "code")->target == "moved");
}

TEST_CASE("snapshot: a merge conflict lists its file once") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / "a", "base\n");
    git_commit(dir.path());
    git(dir.path(), {"checkout", "--quiet", "-b", "side"});
    put_file(dir / "a", "side\n");
    git_commit(dir.path());
    git(dir.path(), {"checkout", "--quiet", "-"});
    put_file(dir / "a", "main\n");
    git_commit(dir.path());
    CHECK(run({"git", "-C", dir.path(), "-c", "user.name=t", "-c", "user.email=t@t", "merge", "side"}).exit_code == 1);
    CHECK(paths_of(listed(dir.path())) == Paths{"a"});
}

TEST_CASE("snapshot: variables of a git hook do not lead to another repository") {
    TempDir dir;
    git_init(dir / "one");
    put_file(dir / "one/1", "1");
    git_init(dir / "two");
    put_file(dir / "two/2", "2");
    const Variable git_dir{"GIT_DIR", dir / "one/.git"}, tree{"GIT_WORK_TREE", dir / "one"};
    CHECK(paths_of(listed(dir / "two")) == Paths{"2"});
}

TEST_CASE("snapshot: a repository that git can't read is an error, in git's words") {
    TempDir dir;
    put_file(dir / "a", "a");
    put_file(dir / ".git", "gitdir: /nowhere/at/all\n");
    const auto list = list_code({dir.path(), {}});
    REQUIRE_FALSE(list.ok());
    CHECK(list.error().where == dir.path());
    CHECK(list.error().message.find("/nowhere/at/all") != std::string::npos);
}

TEST_CASE("snapshot: a folder that git ignores as a whole is an error, not an empty snapshot") {
    TempDir dir;
    git_init(dir.path());
    put_file(dir / ".gitignore", "*\n");
    put_file(dir / "project/a.py", "a");
    const auto list = list_code({dir / "project", {}});
    REQUIRE_FALSE(list.ok());
    CHECK(list.error().kind == ErrorKind::not_found);
    CHECK(list.error().hint.find("git ignores all of it") != std::string::npos);
}

TEST_CASE("snapshot: without the git program everything is sent, and that is said") {
    TempDir dir;
    git_init(dir / "repo");
    put_file(dir / "repo/.gitignore", "*.log\n");
    put_file(dir / "repo/a.py", "a");
    put_file(dir / "repo/a.log", "a");
    fs::create_directories(dir / "empty");
    const Variable path{"PATH", dir / "empty"};
    const FileList list = listed(dir / "repo");
    CHECK(paths_of(list) == Paths{".gitignore", "a.log", "a.py"});
    CHECK_FALSE(list.from_git);
    REQUIRE(list.warnings.size() == 1);
    CHECK(list.warnings[0].find("git is not installed") != std::string::npos);
}

} // namespace trainctl
