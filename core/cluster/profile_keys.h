// The one table of a cluster profile's keys. Pure.
#pragma once

#include "cluster/profile.h"
#include "experiment/key_spec.h"

#include <vector>

namespace trainctl {

// In the order of the reference; paths are those inside `clusters.<name>`.
const std::vector<KeyRow<Profile>> &profile_keys();

// What is wrong with a profile's name, or "".
std::string check_profile_name(const std::string &text);

// One profile as lines of the file, `indent` blanks in front of its name.
std::string emit_profile(const Profile &profile, int indent);

} // namespace trainctl
