#include "checkpoint/verified_files.h"

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t most_files = 100'000; // as many as a checkpoint may have; then it begins anew
constexpr auto finest_time = 2s;            // of file systems that keep whole seconds, and some for a server's clock

std::int64_t nanoseconds(const timespec &time) { return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec; }

} // namespace

VerifiedFiles::Stamp VerifiedFiles::stamp(const struct stat &seen) {
    return {seen.st_dev, seen.st_ino, static_cast<std::uint64_t>(seen.st_size), nanoseconds(seen.st_mtim), nanoseconds(seen.st_ctim)};
}

std::optional<std::string> VerifiedFiles::hash_of(const std::string &path, const Stamp &now) const {
    const std::lock_guard lock{mutex_};
    const auto found = files_.find(path);
    return found != files_.end() && found->second.stamp == now ? std::optional{found->second.hash} : std::nullopt;
}

void VerifiedFiles::keep(const std::string &path, const Stamp &stamp, const std::string &hash, WallTime began) {
    if (began - WallTime{std::chrono::nanoseconds{stamp.changed_ns}} < finest_time)
        return;
    const std::lock_guard lock{mutex_};
    if (files_.size() >= most_files)
        files_.clear();
    files_[path] = {stamp, hash};
}

std::optional<CheckpointFormat> VerifiedFiles::format_of(const std::string &path, const std::string &stamps) const {
    const std::lock_guard lock{mutex_};
    const auto found = whole_.find(path);
    return found != whole_.end() && found->second.stamps == stamps ? std::optional{found->second.format} : std::nullopt;
}

void VerifiedFiles::keep_whole(const std::string &path, const Whole &whole, WallTime changed, WallTime began) {
    if (began - changed < finest_time)
        return;
    const std::lock_guard lock{mutex_};
    if (whole_.size() >= most_files)
        whole_.clear();
    whole_[path] = whole;
}

} // namespace trainctl
