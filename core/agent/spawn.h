// Starts a program with exactly the descriptors, environment, session and CPUs named, and signals as a fresh
// login has them. Does not wait for the exec: a program that can't be started says so on its own stderr and exits
// with 127, so that a hanging file system blocks the child only. Safe while other threads run.
#pragma once

#include "base/process.h"
#include "base/result.h"

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace trainctl {

// A descriptor that is closed with its owner.
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

// A file in memory with this content, at its beginning.
Result<Fd> memory_file(const char *name, const std::string &content);
std::string read_all(int fd); // from the beginning
void set_nonblocking(int fd);

struct SpawnSpec {
    std::vector<std::string> argv; // argv[0] without a slash is looked up in PATH of `environment`
    Environment environment;
    std::string directory = {};           // empty: ours
    std::vector<std::pair<int, int>> fds = {}; // (ours, the child's); 0 is /dev/null where not named; all others are closed
    bool new_session = false;             // else a process group of its own
    bool die_with_parent = false;         // SIGKILL when the thread that called ends
    std::vector<int> cpus = {};           // empty: all that we have
};
Result<pid_t> spawn(const SpawnSpec &spec);

} // namespace trainctl
