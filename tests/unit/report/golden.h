// Texts as they were recorded, in golden/; TRAINCTL_REWRITE_GOLDEN=1 records them anew.
#pragma once

#include "base/process.h"
#include "report/terminal_text.h"
#include "support/test_sshd.h"

#include <doctest/doctest.h>
#include <string>

namespace trainctl {

inline constexpr ReportStyle plain{};

inline void check_golden(const std::string &name, const std::string &text) {
    const std::string path = std::string{TRAINCTL_SOURCE_DIR} + "/tests/unit/report/golden/" + name + ".txt";
    CAPTURE(path);
    if (own_variable("TRAINCTL_REWRITE_GOLDEN") == "1")
        write_text(path, text);
    CHECK(text == read_text(path));
}

} // namespace trainctl
