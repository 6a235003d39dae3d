// Folders of the user's own files on this machine (XDG base directories).
#pragma once

#include "base/files.h"
#include "base/process.h"

#include <string>

namespace trainctl {

inline std::string state_folder() {
    const auto xdg = own_variable("XDG_STATE_HOME");
    return join_path(xdg.empty() ? join_path(own_variable("HOME", "/"), ".local/state") : xdg, "trainctl");
}

} // namespace trainctl
