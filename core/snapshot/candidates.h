// The paths that a snapshot may consist of: from git where there is a work tree, from the file system elsewhere.
#pragma once

#include "base/result.h"
#include "snapshot/exclude.h"
#include "snapshot/snapshot.h"

#include <string>
#include <vector>

namespace trainctl {

struct Candidates {
    std::vector<std::string> paths; // relative, in no order, maybe twice, maybe gone; no directories
    bool from_git = false;
    std::string commit, diff;
    bool dirty = false, diff_cut = false;
    std::vector<std::string> warnings;
};

Result<Candidates> list_candidates(const SnapshotSpec &spec, const ExcludePatterns &exclude);

// A path for a message: one line, valid UTF-8.
std::string printable(const std::string &path);

} // namespace trainctl
