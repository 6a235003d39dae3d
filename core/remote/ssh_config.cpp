#include "remote/ssh_config.h"

#include "base/process.h"
#include "base/text.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <fstream>
#include <functional>
#include <glob.h>
#include <optional>
#include <pwd.h>
#include <unistd.h>

namespace trainctl {

namespace {

constexpr int max_include_depth = 16; // as in OpenSSH

std::string lower(std::string_view text) {
    std::string out{text};
    for (auto &c : out)
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

struct Line {
    std::string key; // lower case
    std::vector<std::string> words;
    std::string rest; // all after the key, as written
};

// "Key value", "Key=value", words in double quotes; comments start with '#' at a word's beginning.
std::optional<Line> parse_line(std::string_view text) {
    text = trim(text);
    if (text.empty() || text[0] == '#')
        return std::nullopt;
    const auto end = std::min(text.find_first_of(" \t=\""), text.size());
    Line line{lower(text.substr(0, end)), {}, {}};
    text = trim(text.substr(end));
    if (!text.empty() && text[0] == '=')
        text = trim(text.substr(1));
    line.rest = text;
    for (std::size_t at = 0; at < text.size();) {
        at = text.find_first_not_of(" \t", at);
        if (at == std::string_view::npos || text[at] == '#')
            break;
        const bool quoted = text[at] == '"';
        const auto begin = at + (quoted ? 1 : 0);
        const auto stop = std::min(text.find_first_of(quoted ? "\"" : " \t", begin), text.size());
        line.words.emplace_back(text.substr(begin, stop - begin));
        at = stop + (quoted ? 1 : 0);
    }
    return line;
}

// Patterns with '*', '?' and '!': one that is negated and matches decides against all.
bool match_patterns(const std::vector<std::string> &patterns, const std::string &text) {
    bool matched = false;
    for (const auto &pattern : patterns) {
        const bool negated = starts_with(pattern, "!");
        if (::fnmatch(pattern.c_str() + (negated ? 1 : 0), text.c_str(), FNM_NOESCAPE) == 0) {
            if (negated)
                return false;
            matched = true;
        }
    }
    return matched;
}

class Reader {
public:
    explicit Reader(const SshConfigRequest &request) : request_(request) {
        const auto at = request.host.rfind('@');
        settings_.alias = at == std::string::npos ? request.host : request.host.substr(at + 1);
        if (at != std::string::npos)
            user_ = request.host.substr(0, at);
    }

    Result<void> read(const std::string &path, bool must_exist, int depth = 0) {
        std::ifstream file{path};
        if (!file)
            return must_exist ? Result<void>{errno_error(errno, "cannot read the ssh config", path)} : Result<void>{};
        bool active = true;
        int number = 0;
        for (std::string text; std::getline(file, text);) {
            ++number;
            const auto line = parse_line(text);
            if (!line)
                continue;
            const auto where = fmt::format("{}:{}", path, number);
            if (line->words.empty())
                return Error{ErrorKind::invalid, line->key + " has no value", where, ""};
            if (line->key == "host")
                active = match_patterns(line->words, settings_.alias);
            else if (line->key == "match")
                active = match(*line, where);
            else if (active && line->key == "include") {
                if (depth >= max_include_depth)
                    return Error{ErrorKind::invalid, "Include goes too deep", where, ""};
                if (auto included = include(*line, path, depth); !included)
                    return included;
            } else if (active) {
                if (auto set = apply(*line, where); !set)
                    return set;
            }
        }
        return {};
    }

    SshSettings finish();

private:
    bool match(const Line &line, const std::string &where);
    Result<void> include(const Line &line, const std::string &from, int depth);
    Result<void> apply(const Line &line, const std::string &where);
    std::string expand(const std::string &text, bool file) const;
    std::string host_now() const {
        return hostname_ ? expand_hostname(*hostname_) : settings_.alias;
    }
    std::string expand_hostname(const std::string &text) const;

    const SshConfigRequest &request_;
    SshSettings settings_;
    std::optional<std::string> hostname_, user_, agent_, host_key_alias_;
    std::optional<int> port_;
    std::optional<bool> identities_only_;
    std::optional<std::vector<std::string>> user_hosts_, global_hosts_;
    std::vector<std::string> identities_;
};

bool Reader::match(const Line &line, const std::string &where) {
    for (std::size_t i = 0; i < line.words.size(); ++i) {
        std::string what = lower(line.words[i]);
        const bool negated = starts_with(what, "!");
        what.erase(0, negated ? 1 : 0);
        if (what == "all")
            continue;
        if (what == "canonical" || what == "final") { // there is no second pass here
            if (!negated)
                return false;
            continue;
        }
        const auto patterns = i + 1 < line.words.size() ? split(line.words[++i], ',') : std::vector<std::string>{};
        bool holds = false;
        if (what == "host")
            holds = match_patterns(patterns, host_now());
        else if (what == "originalhost")
            holds = match_patterns(patterns, settings_.alias);
        else if (what == "user")
            holds = match_patterns(patterns, user_.value_or(request_.local.name));
        else if (what == "localuser")
            holds = match_patterns(patterns, request_.local.name);
        else {
            settings_.not_followed.push_back(where + ": Match " + line.rest);
            return false;
        }
        if (holds == negated)
            return false;
    }
    return true;
}

Result<void> Reader::include(const Line &line, const std::string &from, int depth) {
    const bool of_user = request_.config_path.empty() ? starts_with(from, request_.local.home + "/") : true;
    for (const auto &word : line.words) {
        std::string pattern = word;
        if (starts_with(pattern, "~/"))
            pattern = request_.local.home + pattern.substr(1);
        else if (!starts_with(pattern, "/"))
            pattern = (of_user ? request_.local.home + "/.ssh/" : "/etc/ssh/") + pattern;
        glob_t found{};
        std::vector<std::string> paths;
        if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
            paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
        ::globfree(&found);
        for (const auto &path : paths)
            if (auto read_one = read(path, false, depth + 1); !read_one)
                return read_one;
    }
    return {};
}

Result<void> Reader::apply(const Line &line, const std::string &where) {
    const auto &value = line.words[0];
    const auto once = [](auto &slot, auto text) {
        if (!slot)
            slot = std::move(text);
    };
    if (line.key == "hostname")
        once(hostname_, value);
    else if (line.key == "user")
        once(user_, value);
    else if (line.key == "port") {
        int port = 0;
        for (const char c : value)
            port = c >= '0' && c <= '9' && port <= 65535 ? port * 10 + (c - '0') : 65536;
        if (port < 1 || port > 65535)
            return Error{ErrorKind::invalid, "Port must be 1 to 65535, not " + value, where, ""};
        once(port_, port);
    } else if (line.key == "identityfile")
        identities_.push_back(value);
    else if (line.key == "identitiesonly")
        once(identities_only_, lower(value) == "yes" || lower(value) == "true");
    else if (line.key == "identityagent")
        once(agent_, value);
    else if (line.key == "hostkeyalias")
        once(host_key_alias_, value);
    else if (line.key == "userknownhostsfile")
        once(user_hosts_, line.words);
    else if (line.key == "globalknownhostsfile")
        once(global_hosts_, line.words);
    else if ((line.key == "proxyjump" || line.key == "proxycommand") && settings_.proxy.empty())
        settings_.proxy = (line.key == "proxyjump" ? "ProxyJump " : "ProxyCommand ") + line.rest;
    return {};
}

std::string Reader::expand_hostname(const std::string &text) const {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 1 < text.size() && (text[i + 1] == 'h' || text[i + 1] == '%'))
            out += text[++i] == 'h' ? settings_.alias : "%";
        else
            out += text[i];
    }
    return out;
}

// Tokens and ${VARIABLES} of ssh_config(5), and "~/" at the beginning of a file's name.
std::string Reader::expand(const std::string &text, bool file) const {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (file && i == 0 && starts_with(text, "~/")) {
            out = request_.local.home;
        } else if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '{' && text.find('}', i) != std::string::npos) {
            const auto end = text.find('}', i);
            out += own_variable(text.substr(i + 2, end - i - 2).c_str());
            i = end;
        } else if (text[i] != '%' || i + 1 == text.size()) {
            out += text[i];
        } else {
            switch (text[++i]) {
            case '%': out += '%'; break;
            case 'd': out += request_.local.home; break;
            case 'h': out += settings_.hostname; break;
            case 'k': out += host_key_alias_.value_or(settings_.alias); break;
            case 'n': out += settings_.alias; break;
            case 'p': out += std::to_string(settings_.port); break;
            case 'r': out += settings_.user; break;
            case 'u': out += request_.local.name; break;
            case 'i': out += std::to_string(::getuid()); break;
            default: out += {'%', text[i]};
            }
        }
    }
    return out;
}

SshSettings Reader::finish() {
    settings_.hostname = host_now();
    settings_.user = user_.value_or(request_.local.name);
    settings_.port = port_.value_or(22);
    settings_.identities_only = identities_only_.value_or(false);
    settings_.host_key_alias = host_key_alias_.value_or("");
    settings_.identity_agent = !agent_ || *agent_ == "SSH_AUTH_SOCK" ? "" : expand(*agent_, true);
    if (starts_with(settings_.identity_agent, "$"))
        settings_.identity_agent = own_variable(settings_.identity_agent.c_str() + 1);
    settings_.identities_named = !identities_.empty();
    if (identities_.empty())
        for (const char *name : {"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"})
            identities_.push_back(std::string{"~/.ssh/"} + name);
    const auto files = [&](const std::vector<std::string> &names) {
        std::vector<std::string> out;
        for (const auto &name : names)
            if (name != "none")
                out.push_back(expand(name, true));
        return out;
    };
    settings_.identity_files = files(identities_);
    settings_.user_known_hosts = files(user_hosts_.value_or(std::vector<std::string>{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}));
    settings_.global_known_hosts =
        files(global_hosts_.value_or(std::vector<std::string>{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}));
    if (settings_.proxy.size() > 5 && lower(settings_.proxy.substr(settings_.proxy.size() - 5)) == " none")
        settings_.proxy.clear();
    return settings_;
}

} // namespace

SshLocalUser SshLocalUser::from_passwd() {
    const passwd *entry = ::getpwuid(::getuid()); // NOLINT(concurrency-mt-unsafe): before any thread of ours starts
    if (entry == nullptr)
        return {own_variable("USER"), own_variable("HOME")};
    return {entry->pw_name, entry->pw_dir};
}

Result<SshSettings> read_ssh_config(const SshConfigRequest &request) {
    Reader reader{request};
    if (!request.config_path.empty()) {
        if (auto read = reader.read(request.config_path, true); !read)
            return read.error();
        return reader.finish();
    }
    for (const auto &path : {request.local.home + "/.ssh/config", std::string{"/etc/ssh/ssh_config"}})
        if (auto read = reader.read(path, false); !read)
            return read.error();
    return reader.finish();
}

} // namespace trainctl
