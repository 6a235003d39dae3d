// Whether a server's host key is the one that the known_hosts files promise. Strict, with file and line for
// each answer, revoked keys and several files, which libssh's own check does not give. Reads files only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

struct HostKey {
    std::string type;   // "ssh-ed25519"
    std::string base64; // the public key as in known_hosts
};

struct KnownHostLine {
    HostKey key;
    std::string where; // file:line
    bool revoked = false;
};

// "host", or "[host]:port" where the port is not 22: how known_hosts names a server.
std::string known_hosts_name(std::string_view host, int port);

// All lines of the files that name this server: plain patterns and hashed names.
std::vector<KnownHostLine> find_known_hosts(const std::string &name, const std::vector<std::string> &files);

enum class HostTrust {
    known,
    unknown, // no line names this server
    changed, // lines name it, with other keys
    revoked, // a @revoked line has this key
};
HostTrust judge_host_key(const HostKey &key, const std::vector<KnownHostLine> &lines);

// "SHA256:..." as ssh-keygen -l prints it.
std::string key_fingerprint(const HostKey &key);

// Host key algorithms for the negotiation, those of the known lines first: else the server might show a key of
// another type than the one we know.
std::string host_key_algorithms(const std::vector<KnownHostLine> &lines);

} // namespace trainctl
