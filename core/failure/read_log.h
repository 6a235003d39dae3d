// Reads a log, or standard input, through a scan: block by block, whatever its size.
#pragma once

#include "base/result.h"
#include "failure/log_scan.h"

#include <string>

namespace trainctl {

// `path` "-" is standard input. From byte `from` on (a generation's beginning in a log that is appended to); lines are
// counted from the file's first one all the same. Error: not_found, denied, io, with the path.
Result<LogFindings> read_log(RuleMatcher &matcher, const std::string &path, std::uint64_t from = 0);

} // namespace trainctl
