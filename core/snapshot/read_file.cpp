#include "snapshot/read_file.h"

#include "base/hash.h"
#include "snapshot/candidates.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace trainctl {

namespace {

constexpr std::size_t piece_bytes = 256u << 10;
constexpr std::size_t longest_target = 4096; // PATH_MAX: Linux keeps no longer one

} // namespace

FileReader::FileReader(FileReader &&other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_), executable_(other.executable_) {}

FileReader &FileReader::operator=(FileReader &&other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    std::swap(executable_, other.executable_);
    return *this;
}

FileReader::~FileReader() {
    if (fd_ >= 0)
        ::close(fd_);
}

Result<FileReader> FileReader::open(const std::string &path) {
    FileReader file;
    file.path_ = path;
    // O_NONBLOCK: a fifo that took the file's place must not stop us for ever.
    file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat info {};
    if (file.fd_ < 0 && errno == ELOOP)
        return changed_error(path);
    if (file.fd_ < 0 || ::fstat(file.fd_, &info) != 0)
        return errno_error(errno, "can't read the file", printable(path));
    if (!S_ISREG(info.st_mode))
        return changed_error(path);
    file.size_ = static_cast<std::uint64_t>(info.st_size);
    file.executable_ = (info.st_mode & 0111) != 0;
    return file;
}

Result<std::size_t> FileReader::read(std::string &into, std::size_t most) {
    const std::size_t before = into.size();
    into.resize(before + most);
    ssize_t got = 0;
    do {
        got = ::read(fd_, into.data() + before, most);
    } while (got < 0 && errno == EINTR);
    const int code = errno;
    into.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got < 0)
        return errno_error(code, "can't read the file", printable(path_));
    return static_cast<std::size_t>(got);
}

Result<HashedFile> hash_file(const std::string &path) {
    auto file = FileReader::open(path);
    if (!file)
        return file.error();
    Sha256 hash;
    std::uint64_t size = 0;
    std::string piece;
    for (;;) {
        piece.clear();
        const auto got = file->read(piece, piece_bytes);
        if (!got)
            return got.error();
        if (*got == 0)
            break;
        hash.add(piece);
        size += *got;
        if (size > file->size())
            return changed_error(path); // a log that grows faster than it is read would never end
    }
    if (size != file->size())
        return changed_error(path);
    return HashedFile{size, hash.hex()};
}

Result<std::string> read_link(const std::string &path) {
    std::string target(longest_target, '\0');
    const auto got = ::readlink(path.c_str(), target.data(), target.size());
    if (got < 0 && errno == EINVAL)
        return changed_error(path);
    if (got < 0)
        return errno_error(errno, "can't read the link", printable(path));
    target.resize(static_cast<std::size_t>(got));
    return target;
}

Error changed_error(const std::string &path) {
    return Error{ErrorKind::io, "the file changed while the code was read", printable(path),
                 "submit again when nothing writes to it, or leave it out with code.exclude"};
}

} // namespace trainctl
