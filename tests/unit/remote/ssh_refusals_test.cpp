#include "remote/ssh_transport.h"

#include "support/temp_dir.h"
#include "support/test_sshd.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

struct Refusals {
    TempDir temp;
    std::optional<TestSshd> sshd = TestSshd::start(temp.path());

    // A config of its own; `lines` come first and so win.
    Result<CommandResult> try_with(const std::string &lines, SshOptions options = {}) {
        write_text(temp / "config", "Host sandbox\n" + lines + read_text(sshd->config()));
        options.host = "sandbox";
        options.config_path = temp / "config";
        return SshTransport{options}.run({.line = "echo in", .input = ""});
    }
    std::string fingerprint(const std::string &key) const {
        shell("ssh-keygen -l -f " + key + ".pub > " + (temp / "fingerprint"));
        const auto text = read_text(temp / "fingerprint");
        const auto at = text.find("SHA256:");
        return text.substr(at, text.find(' ', at) - at);
    }
    std::string new_key(const std::string &name, const std::string &passphrase = "") {
        REQUIRE(shell("ssh-keygen -q -t ed25519 -C test -N '" + passphrase + "' -f " + (temp / name)) == 0);
        return temp / name;
    }
    // IdentityFile adds up: a config without the good key.
    std::string without_key() const {
        auto text = read_text(sshd->config());
        const auto at = text.find("  IdentityFile");
        return text.erase(at, text.find('\n', at) + 1 - at);
    }
    void write_config_without_key() const { write_text(sshd->config(), without_key()); }
};

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

struct Listener {
    int fd = -1, port = 0;
    explicit Listener(int backlog) : fd(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        ::bind(fd, reinterpret_cast<sockaddr *>(&address), size);
        ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size);
        port = ntohs(address.sin_port);
        if (backlog > 0)
            ::listen(fd, backlog);
    }
    ~Listener() { ::close(fd); }
};

} // namespace

TEST_CASE_FIXTURE(Refusals, "ssh refused: nobody listens, nobody answers, no such host") {
    if (!sshd)
        return;
    const Listener closed{0}, silent{5};
    auto result = try_with("Port " + std::to_string(closed.port) + "\n");
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::unreachable);
    CHECK(has(result.error().message, "refused"));
    CHECK(has(result.error().where, ":" + std::to_string(closed.port)));
    SshOptions hasty;
    hasty.connect_limit = 300ms;
    result = try_with("Port " + std::to_string(silent.port) + "\n", hasty);
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::timeout);
    hasty.connect_limit = 10s;
    result = try_with("HostName no-such-host.invalid\n", hasty);
    REQUIRE(!result);
    CHECK(result.error().kind != ErrorKind::denied);
    CHECK(has(result.error().text(), "no-such-host.invalid"));
}

TEST_CASE_FIXTURE(Refusals, "ssh refused: an unknown host key, with its fingerprint and the way to add it") {
    if (!sshd)
        return;
    const auto result = try_with("UserKnownHostsFile " + (temp / "empty") + "\nStrictHostKeyChecking no\n");
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::denied);
    CHECK(has(result.error().message, fingerprint(sshd->host_key())));
    const auto &hint = result.error().hint;
    const auto begin = hint.find("`ssh-keyscan") + 1;
    REQUIRE(begin > 1);
    if (shell("command -v ssh-keyscan >/dev/null") != 0)
        return;
    REQUIRE(shell(hint.substr(begin, hint.find('`', begin) - begin) + " 2>/dev/null") == 0);
    CHECK(try_with("UserKnownHostsFile " + (temp / "empty") + "\n"));
}

TEST_CASE_FIXTURE(Refusals, "ssh refused: a changed host key, with both fingerprints and the line") {
    if (!sshd)
        return;
    const auto other = new_key("other_host_key");
    write_text(temp / "wrong", "# comment\n[127.0.0.1]:" + std::to_string(sshd->port()) + " " + read_text(other + ".pub"));
    auto result = try_with("UserKnownHostsFile " + (temp / "wrong") + "\nStrictHostKeyChecking no\n");
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::denied);
    CHECK(has(result.error().message, fingerprint(sshd->host_key())));
    CHECK(has(result.error().message, fingerprint(other)));
    CHECK(has(result.error().message, (temp / "wrong") + ":2"));
    CHECK(sshd->connections() == 0);
    // A second file that knows the right key is enough, as for ssh; so are hashed names.
    REQUIRE(shell("ssh-keygen -q -H -f " + sshd->known_hosts() + " >/dev/null 2>&1") == 0);
    CHECK(try_with("UserKnownHostsFile " + (temp / "wrong") + " " + sshd->known_hosts() + "\n"));
}

TEST_CASE_FIXTURE(Refusals, "ssh refused: a wrong user key, with all that was tried") {
    if (!sshd)
        return;
    write_config_without_key();
    const auto result = try_with("IdentityFile " + new_key("wrong_key") + "\nIdentityFile " + (temp / "none") + "\n");
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::denied);
    CHECK(has(result.error().message, temp / "wrong_key"));
    CHECK(has(result.error().message, (temp / "none") + " (no such file)"));
    CHECK(has(result.error().message, "it accepts: publickey"));
    CHECK(has(result.error().hint, "authorized_keys"));
}

TEST_CASE_FIXTURE(Refusals, "ssh keys: one that others may read is not used, as with OpenSSH") {
    if (!sshd)
        return;
    write_config_without_key();
    const auto key = new_key("open_key");
    REQUIRE(::chmod(key.c_str(), 0666) == 0);
    const auto result = try_with("IdentityFile " + key + "\n");
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::denied);
    CHECK(has(result.error().message, "mode 0666"));
}

TEST_CASE_FIXTURE(Refusals, "ssh keys: one with a passphrase needs an agent, and works with one") {
    if (!sshd)
        return;
    write_config_without_key();
    const auto key = new_key("locked_key", "secret words");
    REQUIRE(shell("cat " + key + ".pub >> " + sshd->key() + ".pub") == 0);
    auto result = try_with("IdentityFile " + key + "\n");
    REQUIRE(!result);
    CHECK(result.error().kind == ErrorKind::denied);
    CHECK(has(result.error().message, key + " (has a passphrase)"));
    CHECK(has(result.error().hint, "ssh-add " + key));

    const auto socket = temp / "agent";
    write_text(temp / "askpass", "#!/bin/sh\necho secret words\n");
    // More keys than a server takes tries, the right one last.
    REQUIRE(shell("chmod +x " + (temp / "askpass") + "; ssh-agent -a " + socket + " > " + (temp / "agent.sh")) == 0);
    for (int i = 0; i < 8; ++i)
        REQUIRE(shell("SSH_AUTH_SOCK=" + socket + " ssh-add -q " + new_key("filler" + std::to_string(i))) == 0);
    REQUIRE(shell("SSH_AUTH_SOCK=" + socket + " SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=" + (temp / "askpass") + " ssh-add -q " + key +
                  " </dev/null") == 0);
    result = try_with("IdentityFile " + key + "\nIdentityAgent " + socket + "\nIdentitiesOnly yes\n");
    CHECK_MESSAGE(result, (result ? "" : result.error().text()));
    // The public half is enough to choose it.
    REQUIRE(shell("rm " + key) == 0);
    result = try_with("IdentityFile " + key + "\nIdentityAgent " + socket + "\n");
    CHECK_MESSAGE(result, (result ? "" : result.error().text()));
    CHECK(shell(". " + (temp / "agent.sh") + " >/dev/null; kill $SSH_AGENT_PID") == 0);
}

TEST_CASE_FIXTURE(Refusals, "ssh keys: an agent that never answers costs the limit, not for ever") {
    if (!sshd)
        return;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (temp / "deaf").copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
    REQUIRE(::listen(fd, 5) == 0);
    SshOptions hasty;
    hasty.auth_limit = 300ms;
    const auto begin = std::chrono::steady_clock::now();
    const auto result = try_with("IdentityAgent " + (temp / "deaf") + "\n", hasty);
    CHECK(!result);
    CHECK(std::chrono::steady_clock::now() - begin < 60s);
    ::close(fd);
}

TEST_CASE_FIXTURE(Refusals, "ssh config: a proxy is refused in words, not gone around") {
    if (!sshd)
        return;
    const auto result = try_with("ProxyJump gate\n");
    REQUIRE(!result);
    CHECK(has(result.error().message, "ProxyJump gate"));
    CHECK(sshd->connections() == 0);
}
