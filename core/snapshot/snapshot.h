// Which files of a folder are the run's code, and their hash. In a git work tree: what git tracks or does not ignore, as
// it is on disk now; elsewhere every file. Symbolic links stay links, empty directories are left out.
#pragma once

#include "base/clock.h"
#include "base/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace trainctl {

struct SnapshotSpec {
    std::string folder;
    std::vector<std::string> exclude; // see exclude.h; ".git" is always left out
    bool use_git = true;              // false: every file, in a work tree as well
    Duration diff_limit = std::chrono::seconds{10}; // for `git diff`: what it says is nice to have, and somebody waits
};

struct CodeFile {
    std::string path;        // relative to the folder; any bytes but NUL
    bool is_link = false;
    bool executable = false;
    std::uint64_t size = 0;  // of a link: the length of its target
    std::string target;      // of a link
    std::string sha256;      // of the content or the target
};

struct FileList {
    std::string folder;
    std::vector<CodeFile> files; // sorted by path, as bytes
    std::string hash;            // 64 hexadecimal digits, see code_hash()
    std::uint64_t total_bytes = 0;
    bool from_git = false;
    std::string git_commit;      // empty: no commit yet, or no git
    bool git_dirty = false;      // something in the folder differs from the commit, or is new
    std::string git_diff;        // `git diff HEAD` of the folder
    bool git_diff_cut = false;   // it was longer than 1 MiB, or took too long and is empty; said in `warnings`
    std::vector<std::string> warnings;
};

// Submodules and other repositories inside the folder count as parts of it, each with its own ignore rules; a submodule
// that is not checked out is a warning. Sub-folders of a repository and linked worktrees are fine.
// Errors: not_found (no such folder, or nothing in it to send), denied (a file that can't be read, by name), invalid
// (an exclude pattern), io (git failed, in its own words; a file changed while it was read).
Result<FileList> list_code(const SnapshotSpec &spec);

// SHA-256 over "trainctl code 1" and, for each file in order, over type, executable bit, path, size and content hash,
// each written as its length, ":" and its bytes. Time, owner and the folder's place do not count. Pure.
std::string code_hash(const std::vector<CodeFile> &files);

} // namespace trainctl
