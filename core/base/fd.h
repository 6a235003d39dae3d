// A file descriptor with an owner, and pipes of them.
#pragma once

#include "base/result.h"

#include <utility>

namespace trainctl {

// Closed with its owner.
class Fd {
public:
    explicit Fd(int fd = -1) : fd_(fd) {}
    Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd &operator=(Fd &&other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() { close(); }
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void close();

private:
    int fd_;
};

struct Pipe {
    Fd read_end, write_end;
};
Result<Pipe> make_pipe(); // both ends closed on exec

} // namespace trainctl
