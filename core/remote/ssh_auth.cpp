#include "remote/ssh_agent_guard.h"
#include "remote/ssh_link.h"

#include "base/process.h"
#include "base/text.h"

#include <fmt/format.h>
#include <libssh/libssh.h>
#include <memory>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace trainctl {

namespace {

using Key = std::unique_ptr<ssh_key_struct, decltype(&ssh_key_free)>;

// The public half, from the file beside or from the private file's readable part; "" where neither tells.
std::string public_base64(const std::string &path) {
    for (const auto &file : {path + ".pub", path}) {
        ssh_key key = nullptr;
        if (::access(file.c_str(), R_OK) != 0 || ssh_pki_import_pubkey_file(file.c_str(), &key) != SSH_OK)
            continue;
        const Key owner{key, &ssh_key_free};
        char *text = nullptr;
        std::string out;
        if (ssh_pki_export_pubkey_base64(key, &text) == SSH_OK)
            out = text;
        ssh_string_free_char(text);
        return out;
    }
    return "";
}

int refuse_passphrase(const char *, char *, std::size_t, int, int, void *asked) {
    *static_cast<bool *>(asked) = true;
    return -1;
}

class Authentication {
public:
    Authentication(SshLink &link, const SshSettings &settings, const SshPatience &patience)
        : link_(link), settings_(settings), patience_(patience) {
        for (const auto &path : settings.identity_files)
            public_keys_.push_back(public_base64(path));
    }

    // Keys that were named first, from the agent and then from their files; then what else the agent has. A
    // server takes few keys (MaxAuthTries, 6), so likely ones come first.
    Result<void> run() {
        auto socket = settings_.identity_agent.empty() ? own_variable("SSH_AUTH_SOCK") : settings_.identity_agent;
        if (socket == "none")
            socket.clear();
        AgentGuard agent{socket, public_keys_, patience_};
        if (agent.socket() >= 0)
            ssh_set_agent_socket(link_.session(), agent.socket());
        else
            tried_.push_back(socket.empty() ? "no ssh-agent" : "ssh-agent does not answer at " + socket);
        if (auto done = ask_agent(agent, AgentKeys::wanted); !done || *done)
            return done ? Result<void>{} : done.error();
        for (std::size_t i = 0; i < settings_.identity_files.size(); ++i) {
            if (!public_keys_[i].empty() && agent.has(public_keys_[i]))
                continue;
            if (auto done = try_file(settings_.identity_files[i]); !done || *done)
                return done ? Result<void>{} : done.error();
        }
        if (!settings_.identities_only)
            if (auto done = ask_agent(agent, AgentKeys::others); !done || *done)
                return done ? Result<void>{} : done.error();
        return attempted_ ? Result<void>{refusal()} : ask_for_methods();
    }

private:
    // SSH_AUTH_* of one method; true when we are in, false when the next method may be tried.
    Result<bool> attempt(const std::string &what, const std::function<int()> &step) {
        attempted_ = true;
        const auto code = link_.drive(patience_, [&] {
            const int now = step();
            return now == SSH_AUTH_AGAIN ? SSH_AGAIN : now;
        });
        if (!code)
            return code.error();
        if (*code == SSH_AUTH_SUCCESS)
            return true;
        tried_.push_back(*code == SSH_AUTH_PARTIAL ? what + " (accepted, but the server wants more)" : what);
        if (*code == SSH_AUTH_ERROR && !link_.alive()) {
            Error error = refusal();
            const std::string said = ssh_get_error(link_.session());
            error.message += said.empty() ? "; the server hung up" : "; the server hung up: " + said;
            return error;
        }
        return false;
    }

    Result<bool> ask_agent(AgentGuard &agent, AgentKeys keys) {
        if (agent.socket() < 0)
            return false;
        agent.show(keys);
        auto done = attempt("", [&] { return ssh_userauth_agent(link_.session(), nullptr); });
        if (!done)
            return done;
        if (!*done) {
            tried_.back() = fmt::format("{} {}keys of the ssh-agent", agent.shown(), keys == AgentKeys::others ? "other " : "named ");
            // A cut line looks like an agent without keys.
            if (const auto time = patience_.slice(); !time)
                return time.error();
        }
        return done;
    }

    Result<bool> try_file(const std::string &path) {
        if (::access(path.c_str(), F_OK) != 0) {
            if (settings_.identities_named)
                tried_.push_back(path + " (no such file)");
            return false;
        }
        struct stat info {};
        if (::stat(path.c_str(), &info) == 0 && info.st_uid == ::getuid() && (info.st_mode & 077) != 0) { // as OpenSSH does
            tried_.push_back(fmt::format("{} (not used: others may read it, mode {:04o}; chmod 600 it)", path, info.st_mode & 07777));
            return false;
        }
        bool asked = false;
        ssh_key key = nullptr;
        const int code = ssh_pki_import_privkey_file(path.c_str(), nullptr, refuse_passphrase, &asked, &key);
        const Key owner{key, &ssh_key_free};
        if (asked) {
            tried_.push_back(path + " (has a passphrase)");
            if (locked_.empty())
                locked_ = path;
            return false;
        }
        if (code != SSH_OK) {
            tried_.push_back(path + (::access(path.c_str(), R_OK) == 0 ? " (not a key that libssh can read)" : " (not readable)"));
            return false;
        }
        return attempt(path, [&] { return ssh_userauth_publickey(link_.session(), nullptr, key); });
    }

    // Nothing was sent yet: "none" gets the server's list of methods, and sometimes lets us in.
    Result<void> ask_for_methods() {
        const auto done = attempt("none", [&] { return ssh_userauth_none(link_.session(), nullptr); });
        if (!done)
            return done.error();
        if (*done)
            return {};
        return refusal();
    }

    Error refusal() const {
        const int list = link_.alive() ? ssh_userauth_list(link_.session(), nullptr) : 0;
        std::vector<std::string> methods;
        for (const auto &[bit, name] : {std::pair{SSH_AUTH_METHOD_PUBLICKEY, "publickey"},
                                        std::pair{SSH_AUTH_METHOD_PASSWORD, "password"},
                                        std::pair{SSH_AUTH_METHOD_INTERACTIVE, "keyboard-interactive"},
                                        std::pair{SSH_AUTH_METHOD_HOSTBASED, "hostbased"},
                                        std::pair{SSH_AUTH_METHOD_GSSAPI_MIC, "gssapi-with-mic"}})
            if ((static_cast<unsigned>(list) & bit) != 0)
                methods.emplace_back(name);
        Error error{ErrorKind::denied, fmt::format("the server let us in with none of: {}", join(tried_, ", ")),
                    patience_.where, ""};
        if (!methods.empty())
            error.message += "; it accepts: " + join(methods, ", ");
        if (!locked_.empty())
            error.hint = "put the key into an agent, once: eval $(ssh-agent); ssh-add " + shell_quote(locked_);
        else
            error.hint = "put your public key into ~/.ssh/authorized_keys there (ssh-copy-id " +
                         shell_quote(settings_.alias) + "), or name the right key with IdentityFile in the ssh config";
        return error;
    }

    SshLink &link_;
    const SshSettings &settings_;
    const SshPatience &patience_;
    std::vector<std::string> public_keys_; // of identity_files, in their order
    std::vector<std::string> tried_;
    std::string locked_;
    bool attempted_ = false;
};

} // namespace

Result<void> authenticate(SshLink &link, const SshSettings &settings, const SshPatience &patience) {
    return Authentication{link, settings, patience}.run();
}

} // namespace trainctl
