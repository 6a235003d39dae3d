// The journal of one writing process: a file of its own under journal/, one line of JSON for each fact. Not pure; to be
// used from any thread.
#pragma once

#include "base/clock.h"
#include "base/files.h"
#include "run/records.h"

#include <mutex>

namespace trainctl {

class JournalWriter {
public:
    // `writer` names the file, which is made with its first line: no other process may have the same name. `own`: the
    // attempt that this process trains as; 0 for one that trains nothing. All must outlive the writer.
    JournalWriter(Files &files, Clock &clock, RunPaths paths, std::string writer, AttemptNo own);

    // Puts a file of some size into the run directory. It is given up for the first line that finds the disk full.
    Result<void> keep_reserve();
    void generation(int number); // of the own attempt, from now on

    // A fact about an attempt. Errors: the line is not there; the one after it begins on a line of its own.
    Result<void> add(AttemptNo about, const std::string &event, Json data);
    Result<void> add(const std::string &event, Json data) { return add(own_, event, std::move(data)); }

private:
    Files &files_;
    Clock &clock_;
    const RunPaths paths_;
    const std::string writer_;
    const AttemptNo own_;
    std::mutex mutex_;
    int generation_ = 0;
    std::uint64_t sequence_ = 0;
    bool torn_ = false;
};

} // namespace trainctl
