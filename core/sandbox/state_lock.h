// One command at a time works on a sandbox, or on the file of profiles. The lock goes with the process.
#pragma once

#include "base/clock.h"
#include "base/result.h"

#include <string>

namespace trainctl {

class StateLock {
public:
    // Makes the file where there is none. Errors: timeout (another holds it), io.
    static Result<StateLock> take(const std::string &path, Duration deadline);
    // Locks a folder itself: nothing is left behind.
    static Result<StateLock> take_folder(const std::string &path, Duration deadline);

    StateLock(StateLock &&other) noexcept;
    StateLock &operator=(StateLock &&other) noexcept;
    ~StateLock();

private:
    explicit StateLock(int fd) : fd_(fd) {}
    int fd_ = -1;
};

} // namespace trainctl
