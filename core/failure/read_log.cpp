#include "failure/read_log.h"

#include "base/fd.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t block_bytes = 8 << 20; // read and then shared among the threads: 15 ms of work
constexpr std::uint64_t large_log = 16 << 20; // bytes: before that another thread's rules are not worth compiling
constexpr unsigned most_threads = 4;          // a login node is shared

} // namespace

RuleMatcher &FailureLogReader::matcher(std::size_t index) {
    while (matchers_.size() <= index)
        matchers_.push_back(std::make_unique<RuleMatcher>(book_));
    return *matchers_[index];
}

Result<LogFindings> FailureLogReader::read(const std::string &path, std::uint64_t from) {
    const bool standard = path == "-";
    const std::string name = standard ? "standard input" : path;
    Fd file(standard ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!standard && !file)
        return errno_error(errno, "cannot open the log", name);
    const int fd = standard ? STDIN_FILENO : file.get();
    LogScan scan(matcher(0), standard ? "stdin" : path);
    const auto block = std::make_unique<char[]>(block_bytes);
    const std::size_t threads = std::clamp(std::thread::hardware_concurrency(), 1u, most_threads);
    std::int64_t lines_before = 0;
    std::uint64_t done = 0;
    std::size_t used = 1;
    for (;;) {
        const auto n = ::read(fd, block.get(), block_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno_error(errno, "cannot read the log", name);
        if (n == 0)
            return scan.finish();
        std::string_view bytes{block.get(), static_cast<std::size_t>(n)};
        const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(from, bytes.size()));
        from -= skipped;
        lines_before += std::count(bytes.begin(), bytes.begin() + skipped, '\n');
        bytes.remove_prefix(skipped);
        if (skipped > 0)
            scan.begin_at_line(lines_before + 1);
        scan.feed(bytes);
        done += bytes.size();
        for (; done > large_log && used < threads; ++used)
            scan.add_helper(matcher(used));
    }
}

} // namespace trainctl
