// The text of clusters.yaml: read into profiles, and changed in place so that all else in it stays. Pure.
#pragma once

#include "cluster/profile.h"
#include "experiment/reader.h"

#include <map>
#include <string>
#include <vector>

namespace trainctl {

struct ParsedProfiles {
    std::map<std::string, Profile> profiles;
    std::vector<Problem> problems;
};
ParsedProfiles parse_profiles(const std::string &text, const std::string &file);

// The text with some profiles added or replaced and others removed. Error invalid where the text has problems or
// is written in a form (one line, braces) that can't be changed without touching the rest.
Result<std::string> edit_profiles(const std::string &text, const std::string &file, const std::vector<Profile> &add,
                                  const std::vector<std::string> &remove);

} // namespace trainctl
