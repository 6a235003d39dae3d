// Patterns that leave files out of a snapshot, a subset of .gitignore: "*.ext" and "name" match at any depth, "/x" and
// "a/b" from the folder on, "dir/" directories only, "**" any number of directories. Pure.
#pragma once

#include "base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

class ExcludePatterns {
public:
    // Error invalid for what is not in the subset ("!negated").
    static Result<ExcludePatterns> parse(const std::vector<std::string> &patterns);

    // Whether the path (relative to the folder) or a directory above it matches.
    bool matches(std::string_view path, bool is_directory) const;

private:
    struct Pattern {
        std::vector<std::string> parts; // between the slashes
        bool anchored = false, directories_only = false;
    };
    std::vector<Pattern> patterns_;
};

} // namespace trainctl
