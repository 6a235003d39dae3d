#include "snapshot/exclude.h"

#include "base/text.h"

#include <algorithm>
#include <fnmatch.h>

namespace trainctl {

namespace {

using Parts = std::vector<std::string>;

// Both from a part on. A last "**" needs something to match: "a/**" is what is in a, not a itself.
bool match_parts(const Parts &pattern, std::size_t p, const Parts &path, std::size_t at) {
    if (p == pattern.size())
        return at == path.size();
    if (pattern[p] != "**")
        return at < path.size() && ::fnmatch(pattern[p].c_str(), path[at].c_str(), 0) == 0 &&
               match_parts(pattern, p + 1, path, at + 1);
    if (p + 1 == pattern.size())
        return at < path.size();
    for (std::size_t next = at; next <= path.size(); ++next)
        if (match_parts(pattern, p + 1, path, next))
            return true;
    return false;
}

} // namespace

Result<ExcludePatterns> ExcludePatterns::parse(const std::vector<std::string> &patterns) {
    ExcludePatterns parsed;
    for (const auto &text : patterns) {
        if (starts_with(text, "!") || text.find('\0') != std::string::npos)
            return Error{ErrorKind::invalid, "\"" + text + "\": a pattern can't bring files back with \"!\"", "code.exclude",
                         "list what is to be left out only"};
        Pattern pattern;
        std::string_view rest = text;
        if (ends_with(rest, "/")) {
            pattern.directories_only = true;
            rest.remove_suffix(1);
        }
        pattern.anchored = rest.find('/') != std::string_view::npos;
        if (starts_with(rest, "/"))
            rest.remove_prefix(1);
        if (rest.empty())
            return Error{ErrorKind::invalid, "\"" + text + "\" is not a pattern", "code.exclude", ""};
        pattern.parts = split(rest, '/');
        // "**/**" is "**"; without this, matching could take exponential time.
        pattern.parts.erase(std::unique(pattern.parts.begin(), pattern.parts.end(),
                                        [](const auto &a, const auto &b) { return a == "**" && b == "**"; }),
                            pattern.parts.end());
        parsed.patterns_.push_back(std::move(pattern));
    }
    return parsed;
}

bool ExcludePatterns::matches(std::string_view path, bool is_directory) const {
    if (patterns_.empty())
        return false;
    const Parts all = split(path, '/');
    Parts above;
    for (std::size_t i = 0; i < all.size(); ++i) {
        above.push_back(all[i]);
        const bool directory = is_directory || i + 1 < all.size();
        for (const auto &pattern : patterns_) {
            if (pattern.directories_only && !directory)
                continue;
            if (pattern.anchored ? match_parts(pattern.parts, 0, above, 0)
                                 : ::fnmatch(pattern.parts[0].c_str(), all[i].c_str(), 0) == 0)
                return true;
        }
    }
    return false;
}

} // namespace trainctl
