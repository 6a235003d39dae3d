#include "base/files.h"

#include "base/text.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr mode_t private_file = 0600;
constexpr mode_t private_folder = 0700;
constexpr std::size_t read_size = 1u << 16;

// Unique among processes, hosts and time: the name of what is written beside its place.
std::string temporary_name(const std::string &path) {
    static std::atomic<unsigned> counter{0}; // shared so that two threads never write the same file
    char host[64] = "";
    ::gethostname(host, sizeof host - 1);
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return fmt::format("{}.{}.{}.{}{:09}.{}.tmp", path, host, ::getpid(), now.tv_sec, now.tv_nsec, counter++);
}

Result<void> write_all(int fd, std::string_view content, const std::string &path) {
    while (!content.empty()) {
        const auto n = ::write(fd, content.data(), content.size());
        if (n < 0 && errno != EINTR)
            return errno_error(errno, "cannot write", path);
        content.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    return {};
}

// On NFS the errors of a full disk come with fsync or close, so both count.
Result<void> sync_and_close(int fd, const std::string &path) {
    const int synced = ::fsync(fd) == 0 ? 0 : errno;
    const int closed = ::close(fd) == 0 ? 0 : errno;
    if (synced != 0 || closed != 0)
        return errno_error(synced != 0 ? synced : closed, "cannot write", path);
    return {};
}

Result<void> write_new(const std::string &path, std::string_view content) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, private_file);
    if (fd < 0)
        return errno_error(errno, "cannot write", path);
    auto written = write_all(fd, content, path);
    auto synced = sync_and_close(fd, path);
    if (written && synced)
        return {};
    ::unlink(path.c_str());
    return written ? synced : written;
}

// Best effort: some file systems can't sync folders, and rename itself is what readers see.
void sync_folder_of(const std::string &path) {
    const int fd = ::open(parent_path(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        ::fsync(fd);
        ::close(fd);
    }
}

} // namespace

Result<bool> PosixFiles::make_dir(const std::string &path) {
    if (::mkdir(path.c_str(), private_folder) == 0) {
        sync_folder_of(path);
        return true;
    }
    if (errno == EEXIST)
        return false;
    return errno_error(errno, "cannot make the folder", path);
}

Result<void> PosixFiles::make_dirs(const std::string &path) {
    struct stat info {};
    if (path.empty() || path == "/" || ::stat(path.c_str(), &info) == 0)
        return {};
    if (auto above = make_dirs(parent_path(path)); !above)
        return above;
    auto made = make_dir(path);
    return made ? Result<void>{} : Result<void>{made.error()};
}

Result<std::optional<std::string>> read_at_most(const std::string &path, std::size_t most) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return std::optional<std::string>{};
        return errno_error(errno, "cannot read", path);
    }
    std::string content;
    char buffer[read_size];
    for (;;) {
        const auto n = ::read(fd, buffer, sizeof buffer);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            const int code = errno;
            ::close(fd);
            if (code == ESTALE) // replaced on the NFS server between open and read: what is there now counts
                return read_at_most(path, most);
            return errno_error(code, "cannot read", path);
        }
        content.append(buffer, static_cast<std::size_t>(n));
        if (content.size() > most) {
            ::close(fd);
            return Error{ErrorKind::invalid, "has more than " + human_bytes(most), path, ""};
        }
    }
    ::close(fd);
    return std::optional{std::move(content)};
}

Result<std::optional<std::string>> PosixFiles::read(const std::string &path) { return read_at_most(path, SIZE_MAX); }

Result<void> PosixFiles::write(const std::string &path, std::string_view content) {
    const std::string beside = temporary_name(path);
    if (auto written = write_new(beside, content); !written)
        return written;
    if (::rename(beside.c_str(), path.c_str()) != 0) {
        const int code = errno;
        ::unlink(beside.c_str());
        return errno_error(code, "cannot write", path);
    }
    sync_folder_of(path);
    return {};
}

Result<bool> PosixFiles::publish(const std::string &path, std::string_view content) {
    const std::string beside = temporary_name(path);
    if (auto written = write_new(beside, content); !written)
        return written.error();
    const int code = ::link(beside.c_str(), path.c_str()) == 0 ? 0 : errno;
    bool ours = code == 0;
    if (code == EEXIST) {
        struct stat mine {}, there {};
        ours = ::stat(beside.c_str(), &mine) == 0 && ::stat(path.c_str(), &there) == 0 && mine.st_ino == there.st_ino &&
               mine.st_dev == there.st_dev;
    }
    ::unlink(beside.c_str());
    if (code != 0 && code != EEXIST)
        return errno_error(code, "cannot link", path);
    sync_folder_of(path);
    return ours;
}

Result<void> PosixFiles::append(const std::string &path, std::string_view text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, private_file);
    if (fd < 0)
        return errno_error(errno, "cannot append", path);
    auto written = write_all(fd, text, path);
    auto synced = sync_and_close(fd, path);
    return written ? synced : written;
}

Result<std::vector<std::string>> PosixFiles::list(const std::string &path) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR *)> folder{::opendir(path.c_str()), ::closedir};
    if (!folder) {
        if (errno == ENOENT)
            return names;
        return errno_error(errno, "cannot list", path);
    }
    errno = 0;
    while (const dirent *entry = ::readdir(folder.get()))
        if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
            names.emplace_back(entry->d_name);
    if (errno != 0)
        return errno_error(errno, "cannot list", path);
    std::sort(names.begin(), names.end());
    return names;
}

Result<void> PosixFiles::rename(const std::string &from, const std::string &to) {
    if (::rename(from.c_str(), to.c_str()) != 0)
        return errno_error(errno, "cannot rename to " + to, from);
    sync_folder_of(to);
    return {};
}

Result<void> PosixFiles::remove(const std::string &path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return errno_error(errno, "cannot remove", path);
    return {};
}

std::string join_path(std::string_view folder, std::string_view name) {
    if (folder.empty() || (!name.empty() && name.front() == '/'))
        return std::string{name};
    return std::string{folder} + (folder.back() == '/' ? "" : "/") + std::string{name};
}

std::string parent_path(std::string_view path) {
    const auto at = path.rfind('/');
    if (at == std::string_view::npos)
        return ".";
    return at == 0 ? "/" : std::string{path.substr(0, at)};
}

std::string base_name(std::string_view path) {
    const auto at = path.rfind('/');
    return std::string{at == std::string_view::npos ? path : path.substr(at + 1)};
}

} // namespace trainctl
