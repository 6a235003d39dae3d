#include "sandbox/state_lock.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace trainctl {

namespace {

constexpr int poll_ms = 20; // flock() has no deadline of its own

// True when locked; false at the deadline.
bool lock_by(int fd, Instant end) {
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (std::chrono::steady_clock::now() >= end)
            return false;
        ::poll(nullptr, 0, poll_ms);
    }
    return true;
}

Error busy(const std::string &path) {
    return Error{ErrorKind::timeout, "another trainctl works on this and does not come to an end", path, "try again"};
}

} // namespace

Result<StateLock> StateLock::take(const std::string &path, Duration deadline) {
    const Instant end = std::chrono::steady_clock::now() + deadline;
    for (;;) {
        StateLock lock{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
        if (lock.fd_ < 0)
            return errno_error(errno, "cannot open the lock", path);
        if (!lock_by(lock.fd_, end))
            return busy(path);
        // The holder before us may have removed the file (`down`): then it locks nothing any more.
        struct stat held {}, there {};
        if (::fstat(lock.fd_, &held) == 0 && ::stat(path.c_str(), &there) == 0 && held.st_ino == there.st_ino &&
            held.st_dev == there.st_dev)
            return lock;
        if (std::chrono::steady_clock::now() >= end)
            return busy(path);
    }
}

Result<StateLock> StateLock::take_folder(const std::string &path, Duration deadline) {
    StateLock lock{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (lock.fd_ < 0)
        return errno_error(errno, "cannot open the folder", path);
    if (!lock_by(lock.fd_, std::chrono::steady_clock::now() + deadline))
        return busy(path);
    return lock;
}

StateLock::StateLock(StateLock &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

StateLock &StateLock::operator=(StateLock &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}

StateLock::~StateLock() {
    if (fd_ >= 0)
        ::close(fd_);
}

} // namespace trainctl
