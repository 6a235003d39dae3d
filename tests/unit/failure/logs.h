// Logs for tests: a text as the scan sees it, and what it decides.
#pragma once

#include "failure/decide.h"
#include "failure/log_scan.h"

#include <string>

namespace trainctl {

inline LogFindings scanned(RuleMatcher &matcher, const std::string &text, std::size_t block = 1 << 20) {
    LogScan scan(matcher, "log");
    for (std::size_t at = 0; at < text.size(); at += block)
        scan.feed(std::string_view{text}.substr(at, block));
    return scan.finish();
}

inline RuleMatcher &builtin_matcher() {
    static RuleMatcher matcher(builtin_failures());
    return matcher;
}

inline Diagnosis diagnosed(const std::string &text) {
    Evidence evidence;
    evidence.logs.push_back(scanned(builtin_matcher(), text));
    return decide(builtin_failures(), evidence);
}

} // namespace trainctl
