// Which trainctl-agent this trainctl brings to clusters: $TRAINCTL_AGENT, or the file beside the own program.
#pragma once

#include "base/result.h"

#include <string>

namespace trainctl {

struct AgentFile {
    std::string path;   // here
    std::string sha256; // of its content
    std::string name;   // "trainctl-agent-" and the hash's first digits; on a cluster "-<arch>" follows
};

// For a machine as `uname -m` names it there; empty: for one like this. Other architectures are read from
// "trainctl-agent-<arch>" beside the one for this machine. Errors: not_found, denied, io.
Result<AgentFile> find_agent(const std::string &arch = "");

// Where find_agent() looks.
std::string agent_path(const std::string &arch = "");

} // namespace trainctl
