// What ranks print: cut into lines, the last ones kept for people, progress found by the user's patterns. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

inline constexpr std::size_t max_line_bytes = 8192;      // of a line in a log; the rest is dropped, and said
inline constexpr std::size_t max_kept_line_bytes = 1024; // of a line in an outcome

// A stream's bytes as lines; a carriage return ends a line too (progress bars).
class LineSplitter {
public:
    std::vector<std::string> add(std::string_view data);
    std::vector<std::string> end(); // what has no newline at its end

private:
    void finish_line(std::vector<std::string> &out);
    std::string line_;
    std::size_t cut_ = 0;
    bool after_return_ = false;
};

// The last lines of a rank: 20, or 30 where a Python traceback is among them.
class LastLines {
public:
    void add(std::string_view line);
    std::vector<std::string> lines() const;

private:
    std::deque<std::string> lines_;
};

struct ProgressFound {
    std::optional<std::int64_t> step;
    std::optional<double> loss, rate;
    bool any() const { return step || loss || rate; }
};

// RE2 patterns with the named groups step, loss, rate. Patterns that RE2 refuses are left out: `trainctl check`
// told about them.
class ProgressScan {
public:
    explicit ProgressScan(const std::vector<std::string> &patterns);
    ~ProgressScan();
    ProgressFound scan(std::string_view line) const;

private:
    struct Pattern;
    std::vector<std::unique_ptr<Pattern>> patterns_;
};

} // namespace trainctl
