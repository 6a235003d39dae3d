#include "agent_file.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/process.h"
#include "desk/wire.h"

#include <sys/utsname.h>
#include <unistd.h>

namespace trainctl {

namespace {

std::string own_folder() {
    char path[4096];
    const auto n = ::readlink("/proc/self/exe", path, sizeof path);
    return n > 0 ? parent_path({path, static_cast<std::size_t>(n)}) : ".";
}

std::string own_arch() {
    utsname names{};
    return ::uname(&names) == 0 ? names.machine : "";
}

} // namespace

std::string agent_path(const std::string &arch) {
    const std::string path = own_variable("TRAINCTL_AGENT", join_path(own_folder(), "trainctl-agent"));
    return arch.empty() || arch == own_arch() ? path : path + "-" + arch;
}

Result<AgentFile> find_agent(const std::string &arch) {
    const std::string path = agent_path(arch);
    auto content = PosixFiles{}.read(path);
    if (!content)
        return content.error();
    if (!*content)
        return Error{ErrorKind::not_found, "there is no trainctl-agent" + (arch.empty() ? "" : " for " + arch), path,
                     "build it: it lies beside trainctl, or where TRAINCTL_AGENT says"};
    AgentFile agent{path, sha256_hex(**content), ""};
    agent.name = "trainctl-agent-" + agent.sha256.substr(0, agent_hash_digits);
    return agent;
}

} // namespace trainctl
