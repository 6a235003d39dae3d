#include "remote/ssh_config.h"

#include "support/temp_dir.h"
#include "support/test_sshd.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

struct ConfigFixture {
    TempDir temp;
    SshSettings read(const std::string &text, const std::string &host) {
        write_text(temp / "config", text);
        auto settings = read_ssh_config({host, temp / "config", {"me", "/home/me"}});
        REQUIRE_MESSAGE(settings, (settings ? "" : settings.error().text()));
        return *settings;
    }
};

using Names = std::vector<std::string>;

} // namespace

TEST_CASE_FIXTURE(ConfigFixture, "ssh config: the first value wins, IdentityFile adds up") {
    const auto s = read("Host gpu*\n  User one\n  IdentityFile ~/.ssh/a\n\nHost *\n User two\n Port 2200\n  IdentityFile %d/keys/%h_%r\n"
                        "HostName=%h.example.org\nHost gpu1\n Port 9\n",
                        "gpu1");
    CHECK(s.user == "one");
    CHECK(s.port == 2200);
    CHECK(s.hostname == "gpu1.example.org");
    CHECK(s.identity_files == Names{"/home/me/.ssh/a", "/home/me/keys/gpu1.example.org_one"});
    CHECK(s.identities_named);
}

TEST_CASE_FIXTURE(ConfigFixture, "ssh config: several known_hosts files, quotes, comments, none") {
    const auto s = read("Host a\n UserKnownHostsFile ~/x \"/with space/y\" # not this\n  GlobalKnownHostsFile none\n"
                        "StrictHostKeyChecking no\nIdentitiesOnly yes\n",
                        "root@a");
    CHECK(s.user_known_hosts == Names{"/home/me/x", "/with space/y"});
    CHECK(s.global_known_hosts.empty());
    CHECK(s.identities_only);
    CHECK(s.user == "root");
}

TEST_CASE_FIXTURE(ConfigFixture, "ssh config: negated patterns, Match and Include") {
    write_text(temp / "more", "Port 77\n");
    const auto text = "Host * !b\n  User not-b\nMatch originalhost b,c\n  HostName target\nMatch host target user me\n  Include " +
                      (temp / "mor*") + "\nMatch exec true\n  User never\n";
    auto s = read(text, "b");
    CHECK(s.user == "me");
    CHECK(s.hostname == "target");
    CHECK(s.port == 77);
    CHECK(s.not_followed.size() == 1);
    s = read(text, "d");
    CHECK(s.user == "not-b");
    CHECK(s.hostname == "d");
    CHECK(s.port == 22);
}

TEST_CASE_FIXTURE(ConfigFixture, "ssh config: defaults, proxies, and errors with a place") {
    auto s = read("Host *\n ProxyJump gate\n", "x");
    CHECK(s.proxy == "ProxyJump gate");
    CHECK(s.user_known_hosts[0] == "/home/me/.ssh/known_hosts");
    CHECK(!s.identities_named);
    CHECK(read("ProxyCommand none\n", "x").proxy.empty());
    write_text(temp / "config", "\nPort many\n");
    const auto bad = read_ssh_config({"x", temp / "config", {"me", "/home/me"}});
    REQUIRE(!bad);
    CHECK(bad.error().where == temp / "config:2");
    const auto missing = read_ssh_config({"x", temp / "nowhere", {"me", "/home/me"}});
    REQUIRE(!missing);
    CHECK(missing.error().kind == ErrorKind::not_found);
}

TEST_CASE_FIXTURE(ConfigFixture, "ssh config: ssh -G of the same file agrees") {
    if (shell("command -v ssh >/dev/null") != 0) {
        MESSAGE("SKIPPED: no ssh here; apt-get install openssh-client");
        return;
    }
    const std::string text = "Host a b\n  HostName %h.example\n  Port 2022\nHost a\n User u1\n UserKnownHostsFile /k/1 /k/2\n"
                             "Host *\n  User u2\n  Port 1\n  IdentityFile /k/%n-%r-%p\nMatch host b.example\n  IdentitiesOnly yes\n";
    for (const std::string host : {"a", "b", "c"}) {
        CAPTURE(host);
        const auto s = read(text, host);
        REQUIRE(shell("ssh -T -G -F " + (temp / "config") + " " + host + " > " + (temp / "out")) == 0);
        const auto out = "\n" + read_text(temp / "out");
        const auto says = [&](const std::string &line) { return out.find("\n" + line + "\n") != std::string::npos; };
        CHECK(says("hostname " + s.hostname));
        CHECK(says("port " + std::to_string(s.port)));
        CHECK(says("user " + s.user));
        CHECK(says(std::string{"identitiesonly "} + (s.identities_only ? "yes" : "no")));
        if (host == "a")
            CHECK(says("userknownhostsfile " + s.user_known_hosts[0] + " " + s.user_known_hosts[1]));
        CHECK(s.identity_files == Names{"/k/" + host + "-" + s.user + "-" + std::to_string(s.port)});
    }
}
