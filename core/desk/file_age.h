// How long ago a file was written, by the clock of the file system that it is on: other machines' clocks may differ.
#pragma once

#include "base/clock.h"

#include <optional>
#include <string>

namespace trainctl {

// Makes and removes an empty file beside it: what its time is, is now. Nothing where the file is not there, or that can't
// be done.
std::optional<Duration> file_age(const std::string &path);

} // namespace trainctl
