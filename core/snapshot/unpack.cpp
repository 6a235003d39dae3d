#include "snapshot/archive.h"

#include "base/hash.h"
#include "base/process.h"
#include "base/text.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <sys/stat.h>

namespace trainctl {

namespace {

namespace fs = std::filesystem;

constexpr auto unpack_deadline = std::chrono::minutes{30}; // some GB in many small files on a slow shared file system

class PartialFolder {
public:
    explicit PartialFolder(std::string path) : path_(std::move(path)) {}
    ~PartialFolder() {
        std::error_code ignored; // what stays behind has a name that nobody reads
        if (!path_.empty())
            fs::remove_all(path_, ignored);
    }
    PartialFolder(const PartialFolder &) = delete;
    PartialFolder &operator=(const PartialFolder &) = delete;
    const std::string &path() const { return path_; }
    void keep() { path_.clear(); }

private:
    std::string path_;
};

Error damaged(const std::string &archive, const std::string &message) {
    return Error{ErrorKind::invalid, message, archive, "remove this archive and submit again, which sends it again"};
}

Result<void> extract(const std::string &archive, const std::string &into) {
    Command command;
    // --force-local: a colon in the path is no host. --touch: build tools refuse files of 1970.
    command.argv = {"tar", "--extract", "--force-local", "--no-same-owner", "--no-same-permissions", "--touch",
                    std::string{"--file="} + archive, std::string{"--directory="} + into};
    Environment environment = own_environment();
    environment.erase("TAR_OPTIONS");
    environment["LC_ALL"] = "C";
    command.environment = std::move(environment);
    command.deadline = unpack_deadline;
    command.max_output_bytes = 64u << 10; // only for the message
    const auto result = run_command(command);
    if (!result)
        return result.error();
    if (result->ok())
        return {};
    const auto lines = split_lines(valid_utf8(trim(result->err)));
    const std::string said = "tar can't unpack the code: " + (lines.empty() ? "no message" : lines.front());
    if (result->err.find("No space left") != std::string::npos || result->err.find("quota") != std::string::npos)
        return Error{ErrorKind::no_space, said, into, "make room on this file system"};
    return damaged(archive, said);
}

Result<void> check_hash(const std::string &archive, const std::string &folder, const std::string &hash) {
    const auto list = list_code({folder, {}, false});
    if (!list && list.error().kind != ErrorKind::not_found)
        return list.error();
    if (!list || list->hash != hash)
        return damaged(archive, "the archive is damaged: what it holds is not the code that it is named after");
    return {};
}

} // namespace

Result<bool> unpack_archive(const std::string &archive, const std::string &folder, const std::string &hash) {
    struct stat info {};
    if (::lstat(folder.c_str(), &info) == 0)
        return false;
    if (::stat(archive.c_str(), &info) != 0)
        return errno_error(errno, "can't read the code archive", archive);
    PartialFolder partial{folder + ".partial." + random_hex(8)};
    if (::mkdir(partial.path().c_str(), 0700) != 0)
        return errno_error(errno, "can't make the folder", partial.path());
    if (auto extracted = extract(archive, partial.path()); !extracted)
        return extracted.error();
    if (auto checked = check_hash(archive, partial.path(), hash); !checked)
        return checked.error();
    if (::rename(partial.path().c_str(), folder.c_str()) == 0) {
        partial.keep();
        return true;
    }
    if (errno == EEXIST || errno == ENOTEMPTY)
        return false; // somebody else was faster
    return errno_error(errno, "can't rename " + partial.path(), folder);
}

} // namespace trainctl
