// Whether a run root's file system can keep runs: exactly one process of many makes a folder or links a name, and a rename
// replaces. Tried once for each root and file system; a mark says that it held.
#pragma once

#include "base/files.h"

#include <string>

namespace trainctl {

// `file_system` is how the root's file system is told from others. Errors: refused where it does not hold, and the file
// system's own where something can't be done at all; both name the root.
Result<void> check_root(Files &files, const std::string &root, const std::string &file_system);

// Its type and id as statfs tells; empty where it does not.
std::string file_system_of(const std::string &path);

} // namespace trainctl
