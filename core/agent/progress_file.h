// What a training says by itself: JSON lines appended to the file that TRAINCTL_PROGRESS names, one file for each rank.
//
//     {"step": 220, "loss": 2.1, "rate": 16.9, "activity": "evaluation"}
//
// All keys are optional. A line without an activity says that there is none.
#pragma once

#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <ctime>
#include <string_view>
#include <sys/types.h>

namespace trainctl {

inline constexpr const char *progress_variable = "TRAINCTL_PROGRESS";

// A folder of the node's own for the files of one generation, made here (0700): in /dev/shm, where a read never waits
// for a disk or a server and a full disk stops nobody; else in TMPDIR of `environment`; else in /tmp.
// `name`: unique on the machine, "<run>-<attempt>-<generation>-<node>". What was there under that name is removed.
Result<std::string> make_progress_folder(const std::string &name, const Environment &environment);
std::string progress_path(const std::string &folder, int rank); // what the rank gets
void remove_progress_folder(const std::string &folder);         // its files, and itself
// Those that dead agents of this node left of a run: named "<run>-<attempt>-<generation>-<node>".
void remove_progress_folders(const std::string &run, const std::string &node, const Environment &environment);

struct ProgressLine {
    std::optional<std::int64_t> step;
    std::optional<double> loss, rate;
    std::string activity;
    bool operator==(const ProgressLine &) const = default;
};

// Reads such a file a piece at a time. Never blocks on a pipe, never reads more than 64 KiB at once (what is older is
// skipped: only the newest counts), and gives the memory of what was read back where the file system can.
class ProgressFileReader {
public:
    explicit ProgressFileReader(std::string path) : path_(std::move(path)) {}

    // The newest value of each key, with the activity of the newest line; nothing where no line came since the last
    // call. To be called a few times a second.
    std::optional<ProgressLine> poll();
    std::uint64_t bad_lines() const { return bad_lines_; } // that were no such object

private:
    bool open();
    void read_more();
    bool rewritten() const;
    void add(std::string_view data);
    void take(std::string_view line);
    void start_over();
    void give_back();

    std::string path_;
    Fd file_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    struct timespec changed_{};
    off_t offset_ = 0, given_back_ = 0;
    std::string partial_, before_; // an unfinished line; the bytes before offset_
    bool skip_line_ = false, partial_taken_ = false, any_ = false;
    ProgressLine newest_;
    std::uint64_t bad_lines_ = 0;
};

} // namespace trainctl
