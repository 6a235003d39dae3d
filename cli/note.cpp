#include "note.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace trainctl {

namespace {

bool verbose_ = false; // set once, before a command begins

} // namespace

void be_verbose() { verbose_ = true; }
bool verbose() { return verbose_; }

void note_text(std::string_view text) {
    while (!text.empty()) {
        const auto n = ::write(STDERR_FILENO, text.data(), text.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

void open_standard_files() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
        if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)::open("/dev/null", O_RDWR); // takes the lowest number that is free: this one
}

} // namespace trainctl
