// Real folders and real git repositories for the tests of snapshots.
#pragma once

#include "base/process.h"
#include "snapshot/archive.h"
#include "snapshot/snapshot.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace trainctl {

inline void put_file(const std::string &path, const std::string &text, bool executable = false) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << text;
    REQUIRE(::chmod(path.c_str(), executable ? 0755 : 0644) == 0);
}

inline std::string get_file(const std::string &path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

inline CommandResult run(std::vector<std::string> argv) {
    Command command;
    command.argv = std::move(argv);
    const auto result = run_command(command);
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().text()));
    return *result;
}

inline std::string git(const std::string &folder, std::vector<std::string> arguments) {
    std::vector<std::string> argv = {"git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@localhost",
                                     "-c", "commit.gpgsign=false", "-c", "protocol.file.allow=always"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const auto result = run(argv);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    return result.out;
}

inline void git_init(const std::string &folder) {
    std::filesystem::create_directories(folder);
    git(folder, {"init", "--quiet"});
}

inline void git_commit(const std::string &folder) {
    git(folder, {"add", "--all"});
    git(folder, {"commit", "--quiet", "--message", "all"});
}

inline FileList listed(const std::string &folder, std::vector<std::string> exclude = {}) {
    auto list = list_code({folder, std::move(exclude)});
    REQUIRE_MESSAGE(list.ok(), (list.ok() ? "" : list.error().text()));
    return *list;
}

inline std::vector<std::string> paths_of(const FileList &list) {
    std::vector<std::string> paths;
    for (const auto &file : list.files)
        paths.push_back(file.path);
    return paths;
}

inline const CodeFile *find_file(const FileList &list, const std::string &path) {
    const auto found = std::find_if(list.files.begin(), list.files.end(), [&](const auto &file) { return file.path == path; });
    return found == list.files.end() ? nullptr : &*found;
}

inline std::string all_pieces(const FileList &list) {
    ArchiveStream stream{list};
    std::string all;
    for (;;) {
        const auto piece = stream.next_piece();
        REQUIRE_MESSAGE(piece.ok(), (piece.ok() ? "" : piece.error().text()));
        if (piece->empty())
            return all;
        all += *piece;
    }
}

using Paths = std::vector<std::string>;

} // namespace trainctl
