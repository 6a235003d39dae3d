#include "base/files.h"
#include "base/hash.h"
#include "checkpoint/look.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

OpenFile::OpenFile(const std::string &path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}

OpenFile::~OpenFile() {
    if (fd_ >= 0)
        ::close(fd_);
}

std::optional<VerifiedFiles::Stamp> OpenFile::stamp() const {
    struct stat seen{};
    return ::fstat(fd_, &seen) == 0 ? std::optional{VerifiedFiles::stamp(seen)} : std::nullopt;
}

ssize_t OpenFile::read(char *to, std::size_t length, std::uint64_t offset) const {
    std::size_t done = 0;
    while (done < length) {
        const auto n = ::pread(fd_, to + done, length - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += static_cast<std::size_t>(n);
    }
    return static_cast<ssize_t>(done);
}

namespace {

// SHA-256 of a whole file in pieces.
Result<std::string> hash_content(const OpenFile &file, const std::string &path, const HashLimits &limits) {
    std::string buffer(read_piece, '\0');
    Sha256 hash;
    for (std::uint64_t offset = 0;;) {
        const auto n = file.read(buffer.data(), buffer.size(), offset);
        if (n < 0)
            return errno_error(errno, "cannot read", path);
        if (n == 0)
            return hash.hex();
        hash.add(std::string_view{buffer}.substr(0, static_cast<std::size_t>(n)));
        offset += static_cast<std::uint64_t>(n);
        if (limits.on_piece)
            limits.on_piece();
    }
}

// Of what was read before, or reads it; nothing where that would be more than `left`, from which it is taken.
Result<std::optional<std::string>> hash_file(const std::string &path, const HashLimits &limits, std::uint64_t &left) {
    const OpenFile file{path};
    const auto before = file.ok() ? file.stamp() : std::nullopt;
    if (!before)
        return errno_error(errno, "cannot read", path);
    if (limits.verified)
        if (auto known = limits.verified->hash_of(path, *before))
            return known;
    if (before->size > left)
        return std::optional<std::string>{};
    left -= before->size;
    const WallTime began = std::chrono::system_clock::now();
    auto hash = hash_content(file, path, limits);
    if (!hash)
        return hash.error();
    if (limits.verified && file.stamp() == before)
        limits.verified->keep(path, *before, *hash, began);
    return std::optional{*hash};
}

} // namespace

std::string read_content(const Look &look, const HashLimits &limits) {
    auto entries = look.verdict.to_hash;
    const auto size_of = [&look](const ManifestEntry &entry) { return look.facts.files.at(entry.name); };
    std::sort(entries.begin(), entries.end(), [&](const auto &a, const auto &b) { return size_of(a) < size_of(b); });
    std::uint64_t left = limits.max_bytes;
    for (const auto &entry : entries) {
        if (size_of(entry) > left && !limits.verified)
            return ""; // and so are all after it
        const auto hash = hash_file(join_path(look.base(), entry.name), limits, left);
        if (!hash)
            return hash.error().text();
        if (*hash && **hash != entry.sha256)
            return fmt::format("the content of {} is not what {} promises", entry.name, look.facts.manifest_name);
    }
    return "";
}

} // namespace trainctl
