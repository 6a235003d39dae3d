#include "desk/log_reader.h"

#include "base/files.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t piece_size = 256u << 10;
constexpr int most_parts = 100;  // far more than a log is ever kept in
constexpr int gap_of_rotation = 1; // between two of its renames one name is free

// Up to the last newline; of a line that is longer than a piece, or that nobody will go on with, as much as there is.
Result<std::string> read_lines(int fd, std::int64_t offset, bool grows) {
    std::string piece(piece_size, '\0');
    const auto n = ::pread(fd, piece.data(), piece.size(), offset);
    if (n < 0)
        return errno_error(errno, "cannot read", "");
    piece.resize(static_cast<std::size_t>(n));
    const auto last = piece.rfind('\n');
    if (last != std::string::npos)
        piece.resize(last + 1);
    else if (grows && piece.size() < piece_size)
        piece.clear();
    return piece;
}

// Where the last `lines` lines begin. `lines` becomes how many are still wanted where there are not so many.
std::int64_t tail_of(int fd, std::int64_t size, std::int64_t &lines) {
    std::int64_t newlines = 0;
    std::string block(piece_size, '\0');
    for (std::int64_t end = size; end > 0;) {
        const std::int64_t from = std::max<std::int64_t>(0, end - static_cast<std::int64_t>(block.size()));
        const auto n = ::pread(fd, block.data(), static_cast<std::size_t>(end - from), from);
        for (auto i = n; i > 0; --i)
            if (block[static_cast<std::size_t>(i - 1)] == '\n' && newlines++ == lines)
                return from + i;
        end = from;
    }
    lines -= newlines;
    return 0;
}

} // namespace

// Newest first, up to the one with this inode. In this order no rotation in between hides a part: they move away from us.
Result<std::vector<LogReader::Part>> LogReader::open_parts(const std::string &file, std::uint64_t oldest) const {
    std::vector<Part> parts;
    const auto path = join_path(folder_, file);
    for (int i = 0, missing = 0; i < most_parts && missing <= gap_of_rotation; ++i) {
        const auto name = i == 0 ? path : fmt::format("{}.{}", path, i);
        Fd fd{::open(name.c_str(), O_RDONLY | O_CLOEXEC)};
        struct stat info {};
        if (!fd && errno == ENOENT) {
            ++missing;
            continue;
        }
        if (!fd || ::fstat(fd.get(), &info) != 0)
            return errno_error(errno, "cannot read", name);
        missing = 0;
        if (!parts.empty() && parts.back().inode == info.st_ino)
            continue;
        parts.push_back({std::move(fd), info.st_ino, info.st_size});
        if (info.st_ino == oldest)
            break;
    }
    return parts;
}

Result<LogReader::Piece> LogReader::next(const std::string &file) {
    auto &place = places_[file];
    auto parts = open_parts(file, place.inode);
    if (!parts)
        return parts.error();
    for (auto part = parts->rbegin(); part != parts->rend(); ++part) {
        if (part->inode != place.inode || part->size < place.offset)
            place = {part->inode, 0};
        auto text = read_lines(part->fd.get(), place.offset, part + 1 == parts->rend());
        if (!text)
            return Error{text.error().kind, text.error().message, join_path(folder_, file), text.error().hint};
        place.offset += static_cast<std::int64_t>(text->size());
        if (!text->empty())
            return Piece{std::move(*text), place};
    }
    return Piece{"", place};
}

Result<void> LogReader::skip_to_tail(const std::string &file, std::int64_t lines) {
    if (places_.contains(file))
        return {};
    auto parts = open_parts(file, 0);
    if (!parts)
        return parts.error();
    for (const auto &part : *parts) {
        const auto offset = tail_of(part.fd.get(), part.size, lines);
        places_[file] = {part.inode, offset};
        if (offset > 0)
            break;
    }
    return {};
}

} // namespace trainctl
