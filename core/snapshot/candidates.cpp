#include "snapshot/candidates.h"

#include "base/files.h"
#include "base/process.h"
#include "base/text.h"

#include <cerrno>
#include <dirent.h>
#include <memory>
#include <optional>
#include <sys/stat.h>
#include <utility>

namespace trainctl {

namespace {

constexpr std::size_t longest_diff = 1u << 20;        // kept with each run, so a page of changes and not a data set
constexpr std::size_t longest_listing = 512u << 20;   // some million paths
constexpr std::size_t most_files = 1'000'000;         // more is a data set or a wrong folder
constexpr int deepest_repository = 16;                // submodules in submodules
constexpr auto git_deadline = std::chrono::minutes{5};

// A repository that a hook or an editor points to is not the one of the folder; messages are compared in English.
Environment git_environment() {
    Environment environment = own_environment();
    for (const char *name : {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY",
                             "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS",
                             "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_EXTERNAL_DIFF"})
        environment.erase(name);
    environment["LC_ALL"] = "C";
    environment["GIT_OPTIONAL_LOCKS"] = "0";
    return environment;
}

Result<CommandResult> git(const std::string &folder, std::vector<std::string> arguments,
                          std::size_t most_output = longest_listing, Duration deadline = git_deadline) {
    Command command;
    // A file-system monitor that git starts would hold our pipes open.
    command.argv = {"git", "-c", "core.fsmonitor=false", "-C", folder};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.environment = git_environment();
    command.deadline = deadline;
    command.max_output_bytes = most_output;
    return run_command(command);
}

Error git_failed(const std::string &folder, const CommandResult &result) {
    return Error{ErrorKind::io, "git failed: " + valid_utf8(trim(result.err)), folder,
                 "code.path must be a work tree that git can read, or have no git at all"};
}

enum class Tree { work_tree, none, no_program };

Result<Tree> kind_of(const std::string &folder) {
    const auto asked = git(folder, {"rev-parse", "--is-inside-work-tree"});
    if (!asked && asked.error().kind == ErrorKind::not_found)
        return Tree::no_program;
    if (!asked)
        return asked.error();
    if (asked->ok())
        return trim(asked->out) == "true" ? Tree::work_tree : Tree::none;
    // "not a git repository: <path>" is a broken link to one, and an error.
    if (asked->err.find("not a git repository (or any") != std::string::npos)
        return Tree::none;
    return git_failed(folder, *asked);
}

bool exists(const std::string &path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0;
}

bool is_directory(const std::string &path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::vector<std::string>> ls_files(const std::string &folder, std::vector<std::string> which) {
    std::vector<std::string> arguments = {"ls-files", "-z"};
    arguments.insert(arguments.end(), which.begin(), which.end());
    const auto listed = git(folder, std::move(arguments));
    if (!listed)
        return listed.error();
    // git goes on without a directory that it can't read.
    if (!listed->ok() || listed->err.find("could not open directory") != std::string::npos)
        return git_failed(folder, *listed);
    if (listed->truncated)
        return Error{ErrorKind::invalid, "too many files to send", folder, "leave some out with code.exclude or .gitignore"};
    auto paths = split(listed->out, '\0');
    paths.pop_back(); // after the last NUL
    return paths;
}

// Adds what one repository has under `folder`/`prefix`; true where it has files that no commit knows.
Result<bool> add_repository(const std::string &folder, const std::string &prefix, int depth, Candidates &out) {
    const std::string place = prefix.empty() ? folder : join_path(folder, prefix);
    if (depth > deepest_repository)
        return Error{ErrorKind::invalid, "repositories are nested too deep", place, ""};
    bool has_new = false;
    for (const bool tracked : {true, false}) {
        auto paths = tracked ? ls_files(place, {"--cached"}) : ls_files(place, {"--others", "--exclude-standard"});
        if (!paths)
            return paths.error();
        has_new |= !tracked && !paths->empty();
        for (auto &name : *paths) {
            if (ends_with(name, "/"))
                name.pop_back(); // another repository, not a submodule
            std::string path = prefix + name;
            if (!is_directory(join_path(folder, path))) {
                out.paths.push_back(std::move(path));
            } else if (exists(join_path(folder, path) + "/.git")) {
                if (auto added = add_repository(folder, path + "/", depth + 1, out); !added)
                    return added;
            } else {
                out.warnings.push_back("the submodule " + printable(path) +
                                       " is not checked out and not sent (git submodule update --init)");
            }
        }
    }
    return has_new;
}

Result<Candidates> from_git(const std::string &folder, Duration diff_limit) {
    Candidates out;
    out.from_git = true;
    const auto has_new = add_repository(folder, "", 0, out);
    if (!has_new)
        return has_new.error();
    const auto head = git(folder, {"rev-parse", "--verify", "--quiet", "HEAD"});
    if (!head)
        return head.error();
    out.dirty = true;
    if (!head->ok())
        return out; // no commit yet
    out.commit = trim(head->out);
    const auto diff = git(folder, {"diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", "."}, longest_diff, diff_limit);
    if (!diff && diff.error().kind == ErrorKind::timeout) {
        out.diff_cut = true;
        out.warnings.push_back("`git diff` took more than " + human_duration(diff_limit) + ": the run keeps no diff of the uncommitted edits (the code itself is sent whole)");
        return out;
    }
    if (!diff)
        return diff.error();
    if (!diff->ok())
        return git_failed(folder, *diff);
    out.dirty = *has_new || !diff->out.empty();
    out.diff = diff->out;
    out.diff_cut = diff->truncated;
    if (out.diff_cut)
        out.warnings.push_back("the diff of the uncommitted edits is cut at " + human_bytes(longest_diff) + " (the code itself is sent whole)");
    return out;
}

struct CloseDir {
    void operator()(DIR *dir) const { ::closedir(dir); }
};

// One directory: files go to `out`, directories to `todo`.
Result<void> read_directory(const std::string &folder, const std::string &prefix, const ExcludePatterns &exclude,
                            std::vector<std::string> &todo, std::vector<std::string> &out) {
    const std::string place = prefix.empty() ? folder : join_path(folder, prefix);
    const std::unique_ptr<DIR, CloseDir> dir{::opendir(place.c_str())};
    if (!dir)
        return errno_error(errno, "can't read the directory", printable(place));
    for (errno = 0; const dirent *entry = ::readdir(dir.get()); errno = 0) {
        const std::string name = entry->d_name;
        if (name == "." || name == ".." || name == ".git")
            continue;
        std::string path = prefix + name;
        const bool directory = is_directory(join_path(folder, path));
        if (exclude.matches(path, directory))
            continue;
        (directory ? todo : out).push_back(directory ? path + "/" : path);
    }
    if (errno != 0)
        return errno_error(errno, "can't read the directory", printable(place));
    return {};
}

Result<std::vector<std::string>> walk(const std::string &folder, const ExcludePatterns &exclude) {
    std::vector<std::string> todo = {""}, out;
    while (!todo.empty()) {
        const std::string prefix = std::move(todo.back());
        todo.pop_back();
        if (auto read = read_directory(folder, prefix, exclude, todo, out); !read)
            return read.error();
        if (out.size() > most_files)
            return Error{ErrorKind::invalid, "more than " + std::to_string(most_files) + " files to send", folder,
                         "leave some out with code.exclude"};
    }
    return out;
}

} // namespace

std::string printable(const std::string &path) {
    std::string out = valid_utf8(path);
    for (char &c : out)
        c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    return out;
}

Result<Candidates> list_candidates(const SnapshotSpec &spec, const ExcludePatterns &exclude) {
    const std::string &folder = spec.folder;
    Tree tree = Tree::none;
    if (spec.use_git) {
        const auto kind = kind_of(folder);
        if (!kind)
            return kind.error();
        tree = *kind;
    }
    if (tree == Tree::work_tree)
        return from_git(folder, spec.diff_limit);
    Candidates out;
    auto paths = walk(folder, exclude);
    if (!paths)
        return paths.error();
    out.paths = std::move(*paths);
    if (tree == Tree::no_program && exists(join_path(folder, ".git")))
        out.warnings.push_back("git is not installed here, so files that it would ignore are sent as well");
    return out;
}

} // namespace trainctl
