#include "remote/ssh_known_hosts.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <fnmatch.h>
#include <fstream>
#include <libssh/libssh.h>
#include <memory>
#include <optional>

namespace trainctl {

namespace {

std::string lower(std::string_view text) {
    std::string out{text};
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return out;
}

std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; (at = text.find_first_not_of(" \t\r", at)) != std::string_view::npos;) {
        const auto end = std::min(text.find_first_of(" \t\r", at), text.size());
        out.emplace_back(text.substr(at, end - at));
        at = end;
    }
    return out;
}

// The HMAC-SHA1 of a hashed name is libssh's business.
bool matches_hashed(const std::string &name, const std::vector<std::string> &line) {
    ssh_knownhosts_entry *entry = nullptr;
    const std::string text = line[0] + " " + line[1] + " " + line[2];
    const bool matched = ssh_known_hosts_parse_line(name.c_str(), text.c_str(), &entry) == SSH_OK;
    ssh_knownhosts_entry_free(entry);
    return matched;
}

// fnmatch knows brackets as sets; in known_hosts they are part of "[host]:port".
std::string literal_brackets(std::string_view pattern) {
    std::string out;
    for (const char c : pattern)
        out += c == '[' ? std::string{"\\["} : std::string(1, c);
    return out;
}

bool matches(const std::string &name, const std::vector<std::string> &line) {
    if (starts_with(line[0], "|"))
        return matches_hashed(name, line);
    bool matched = false;
    for (const auto &pattern : split(lower(line[0]), ',')) {
        const bool negated = starts_with(pattern, "!");
        if (::fnmatch(literal_brackets(std::string_view{pattern}.substr(negated ? 1 : 0)).c_str(), name.c_str(), 0) != 0)
            continue;
        if (negated)
            return false;
        matched = true;
    }
    return matched;
}

std::optional<KnownHostLine> parse(const std::string &text, const std::string &name) {
    auto parts = words(text);
    KnownHostLine line;
    if (parts.empty() || starts_with(parts[0], "#"))
        return std::nullopt;
    if (starts_with(parts[0], "@")) {
        // Certificates of hosts are not asked for, so authorities say nothing here.
        if (parts[0] != "@revoked")
            return std::nullopt;
        line.revoked = true;
        parts.erase(parts.begin());
    }
    if (parts.size() < 3 || !matches(name, parts))
        return std::nullopt;
    line.key = {parts[1], parts[2]};
    return line;
}

} // namespace

std::string known_hosts_name(std::string_view host, int port) {
    return port == 22 ? lower(host) : "[" + lower(host) + "]:" + std::to_string(port);
}

std::vector<KnownHostLine> find_known_hosts(const std::string &name, const std::vector<std::string> &files) {
    std::vector<KnownHostLine> out;
    for (const auto &path : files) {
        std::ifstream file{path};
        std::string text;
        for (int number = 1; std::getline(file, text); ++number)
            if (auto line = parse(text, name)) {
                line->where = path + ":" + std::to_string(number);
                out.push_back(*std::move(line));
            }
    }
    return out;
}

HostTrust judge_host_key(const HostKey &key, const std::vector<KnownHostLine> &lines) {
    bool known = false, others = false;
    for (const auto &line : lines) {
        const bool same = line.key.base64 == key.base64;
        if (line.revoked && same)
            return HostTrust::revoked;
        if (line.revoked)
            continue;
        known |= same;
        others = true;
    }
    return known ? HostTrust::known : others ? HostTrust::changed : HostTrust::unknown;
}

std::string key_fingerprint(const HostKey &key) {
    ssh_key imported = nullptr;
    if (ssh_pki_import_pubkey_base64(key.base64.c_str(), ssh_key_type_from_name(key.type.c_str()), &imported) != SSH_OK)
        return "(unreadable key)";
    const std::unique_ptr<ssh_key_struct, decltype(&ssh_key_free)> owner{imported, &ssh_key_free};
    unsigned char *hash = nullptr;
    std::size_t length = 0;
    if (ssh_get_publickey_hash(imported, SSH_PUBLICKEY_HASH_SHA256, &hash, &length) != SSH_OK)
        return "(unreadable key)";
    char *text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, length);
    std::string out = text != nullptr ? text : "(unreadable key)";
    ssh_string_free_char(text);
    ssh_clean_pubkey_hash(&hash);
    return out;
}

std::string host_key_algorithms(const std::vector<KnownHostLine> &lines) {
    constexpr std::array all{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
                             "rsa-sha2-512", "rsa-sha2-256"};
    std::vector<std::string> first, rest;
    for (const std::string algorithm : all) {
        const std::string type = starts_with(algorithm, "rsa-") ? "ssh-rsa" : algorithm;
        const bool known = std::any_of(lines.begin(), lines.end(),
                                       [&](const auto &line) { return !line.revoked && line.key.type == type; });
        (known ? first : rest).push_back(algorithm);
    }
    first.insert(first.end(), rest.begin(), rest.end());
    return join(first, ",");
}

} // namespace trainctl
