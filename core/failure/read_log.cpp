#include "failure/read_log.h"

#include "base/fd.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr std::size_t block_bytes = 1 << 20; // each read; larger ones were no faster

} // namespace

Result<LogFindings> read_log(RuleMatcher &matcher, const std::string &path, std::uint64_t from) {
    const bool standard = path == "-";
    const std::string name = standard ? "standard input" : path;
    Fd file(standard ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!standard && !file)
        return errno_error(errno, "cannot open the log", name);
    const int fd = standard ? STDIN_FILENO : file.get();
    const auto block = std::make_unique<char[]>(block_bytes);
    std::int64_t lines_before = 0;
    LogScan scan(matcher, standard ? "stdin" : path);
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
    }
}

} // namespace trainctl
