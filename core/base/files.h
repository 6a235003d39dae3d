// The file system as trainctl uses it: a few durable operations, each safe against death at any point, on
// local disks and NFS alike. An interface, because the run's protocol is tested against one with stale
// directory views and deaths. PosixFiles is the real one.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

class Files {
public:
    virtual ~Files() = default;

    // Makes one folder (0700): true where we made it, false where it was there. The compare-and-swap.
    virtual Result<bool> make_dir(const std::string &path) = 0;
    // Makes the folder and those above it.
    virtual Result<void> make_dirs(const std::string &path) = 0;
    // Whole content, opened anew; nothing where there is no such file.
    virtual Result<std::optional<std::string>> read(const std::string &path) = 0;
    // Written beside (0600), synced, renamed over. Readers see the old or the new content, whole.
    virtual Result<void> write(const std::string &path, std::string_view content) = 0;
    // Written beside, synced, and link()ed to `path`: true where it is ours now, false where another was
    // there first. An EEXIST for our own link (NFS: the answer was lost) is recognized as ours.
    virtual Result<bool> publish(const std::string &path, std::string_view content) = 0;
    // Adds text at the end with one write() and syncs; makes the file (0600) where there is none.
    virtual Result<void> append(const std::string &path, std::string_view text) = 0;
    // Names in a folder, sorted, without "." and ".."; empty where there is no such folder.
    virtual Result<std::vector<std::string>> list(const std::string &path) = 0;
    virtual Result<void> rename(const std::string &from, const std::string &to) = 0;
    // Removes a file; no error where there is none.
    virtual Result<void> remove(const std::string &path) = 0;
};

class PosixFiles final : public Files {
public:
    Result<bool> make_dir(const std::string &path) override;
    Result<void> make_dirs(const std::string &path) override;
    Result<std::optional<std::string>> read(const std::string &path) override;
    Result<void> write(const std::string &path, std::string_view content) override;
    Result<bool> publish(const std::string &path, std::string_view content) override;
    Result<void> append(const std::string &path, std::string_view text) override;
    Result<std::vector<std::string>> list(const std::string &path) override;
    Result<void> rename(const std::string &from, const std::string &to) override;
    Result<void> remove(const std::string &path) override;
};

// A file of the user, which may be anything that has a name: as Files::read, but never more than `most` bytes. Error
// invalid where there is more.
Result<std::optional<std::string>> read_at_most(const std::string &path, std::size_t most);

// "a/b" and "c" -> "a/b/c"; an absolute second part wins.
std::string join_path(std::string_view folder, std::string_view name);
std::string parent_path(std::string_view path);
std::string base_name(std::string_view path);

} // namespace trainctl
