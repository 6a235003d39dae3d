#include "desk/file_age.h"

#include "base/fd.h"
#include "base/files.h"
#include "base/hash.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

Duration time_of(const struct stat &info) { return std::chrono::seconds{info.st_mtim.tv_sec} + std::chrono::nanoseconds{info.st_mtim.tv_nsec}; }

} // namespace

std::optional<Duration> file_age(const std::string &path) {
    struct stat written {}, now {};
    if (::stat(path.c_str(), &written) != 0)
        return std::nullopt;
    const auto beside = join_path(parent_path(path), ".now." + random_hex(8));
    const Fd fd{::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!fd)
        return std::nullopt;
    const bool known = ::fstat(fd.get(), &now) == 0;
    ::unlink(beside.c_str());
    if (!known)
        return std::nullopt;
    return std::max(Duration::zero(), time_of(now) - time_of(written));
}

} // namespace trainctl
