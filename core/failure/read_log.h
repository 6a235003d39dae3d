// Reads logs, or standard input, through a scan: block by block, whatever their size.
#pragma once

#include "base/result.h"
#include "failure/log_scan.h"

#include <memory>
#include <string>

namespace trainctl {

class FailureLogReader {
public:
    // `book` must outlive it.
    explicit FailureLogReader(const FailureBook &book) : book_(book) {}

    // `path` "-" is standard input. From byte `from` on (a generation's beginning in a log that is appended to); lines are
    // counted from the file's first one all the same. Error: not_found, denied, io, with the path.
    Result<LogFindings> read(const std::string &path, std::uint64_t from = 0);

    // For a log that comes from elsewhere, piece by piece. One at a time.
    LogScan scan_of(const std::string &name) { return {matcher(0), name}; }

private:
    RuleMatcher &matcher(std::size_t index);

    const FailureBook &book_;
    std::vector<std::unique_ptr<RuleMatcher>> matchers_; // made when they are needed
};

} // namespace trainctl
