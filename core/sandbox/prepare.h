// What a sandbox needs before its daemons start: free ports, folders, keys and configuration files. Not pure;
// the texts are in layout.h. All of it may be done again at any time and changes nothing that is right.
#pragma once

#include "base/result.h"
#include "sandbox/layout.h"

#include <string>
#include <sys/types.h>

namespace trainctl {

// Whether a daemon could listen on this port now.
bool can_bind(int port);
Result<SandboxPorts> free_sandbox_ports(int nodes);

// Folders, GPU files and keys. Error denied where another user could reach the sockets.
Result<void> make_sandbox_files(const SandboxConfig &config);
// Every configuration file, and the record.
Result<void> write_sandbox_config(const SandboxConfig &config);
// Daemons that run read their files now and then: the same bytes are not written again.
Result<void> put_sandbox_file(const std::string &path, const std::string &text, mode_t mode);

} // namespace trainctl
