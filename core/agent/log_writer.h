// Appends to log files from a thread of its own, so that a full disk or a hanging file system never blocks who
// writes: what can't be kept is dropped and counted, and the log says so once it can.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <memory>
#include <string>

namespace trainctl {

class LogWriter {
public:
    struct Limits {
        std::size_t file_bytes = 64u << 20; // of one file; then it becomes <file>.1, that <file>.2, ...
        int old_files = 3;
        std::size_t queue_bytes = 16u << 20;
    };

    LogWriter() : LogWriter(Limits{}) {}
    explicit LogWriter(Limits limits);
    ~LogWriter(); // waits two seconds at most for what is queued; a thread that hangs is left behind

    // Adds one line, without its newline. Never blocks. Folders are made as needed.
    void write(const std::string &path, const std::string &line);
    std::uint64_t dropped_lines() const;
    bool drain(Duration limit); // true: all is written, or dropped

private:
    struct State;
    std::shared_ptr<State> state_;
};

} // namespace trainctl
