// What ~/.ssh/config says about a host, by OpenSSH's rules (the first value wins; IdentityFile adds up), for
// the keys that trainctl follows. Reads files; opens no connection. libssh's own parser takes one known_hosts
// file only and would obey StrictHostKeyChecking.
#pragma once

#include "base/result.h"

#include <string>
#include <vector>

namespace trainctl {

// Who asks: injected, so that the rules can be tested. from_passwd() is what ssh itself uses.
struct SshLocalUser {
    std::string name, home;
    static SshLocalUser from_passwd();
};

struct SshSettings {
    std::string alias;    // what was asked for
    std::string hostname; // what to connect to
    std::string user;
    int port = 22;
    std::vector<std::string> identity_files; // expanded, in order; the default ids where none was named
    bool identities_named = false;           // by IdentityFile, and not the default ids
    bool identities_only = false;
    std::string identity_agent;              // socket; empty: $SSH_AUTH_SOCK; "none"
    std::string host_key_alias;
    std::vector<std::string> user_known_hosts, global_known_hosts;
    std::string proxy;                       // "ProxyJump gate" or "ProxyCommand ..." as written; empty: none
    std::vector<std::string> not_followed;   // "file:line: Match exec ..." that might have mattered
};

struct SshConfigRequest {
    std::string host;        // "alias" or "user@alias"
    std::string config_path; // empty: ~/.ssh/config and then /etc/ssh/ssh_config
    SshLocalUser local;
};

// Errors: not_found (the file named by config_path), invalid with file:line.
Result<SshSettings> read_ssh_config(const SshConfigRequest &request);

} // namespace trainctl
