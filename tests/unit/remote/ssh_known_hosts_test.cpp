#include "remote/ssh_known_hosts.h"

#include "base/text.h"
#include "remote/ssh_agent_guard.h"
#include "support/temp_dir.h"
#include "support/test_sshd.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

// A key of 32 equal bytes: valid in form, nobody's.
HostKey made_up_key(char byte) {
    const std::string type = "ssh-ed25519";
    const auto number = [](char n) { return std::string{0, 0, 0, n}; };
    return {type, base64(number(11) + type + number(32) + std::string(32, byte))};
}

std::string line(const std::string &names, const HostKey &key) {
    return names + " " + key.type + " " + key.base64 + " comment\n";
}

} // namespace

TEST_CASE("known hosts: patterns, ports, hashed names, several files") {
    TempDir temp;
    const auto key = made_up_key('a'), other = made_up_key('b');
    const std::string one = temp / "one", two = temp / "two";
    write_text(one, "# comment\n\n" + line("Alpha,10.0.0.1", key) + line("*.example.org,!bad.example.org", key) + "broken\n");
    write_text(two, line("[alpha]:2222", other));
    const auto find = [&](const char *host, int port) { return find_known_hosts(known_hosts_name(host, port), {one, two, temp / "none"}); };
    REQUIRE(find("ALPHA", 22).size() == 1);
    CHECK(find("alpha", 22)[0].where == one + ":3");
    CHECK(find("10.0.0.1", 22).size() == 1);
    CHECK(find("x.example.org", 22).size() == 1);
    CHECK(find("bad.example.org", 22).empty());
    CHECK(find("alpha", 23).empty());
    REQUIRE(find("alpha", 2222).size() == 1);
    CHECK(find("alpha", 2222)[0].key.base64 == other.base64);
    if (shell("ssh-keygen -q -H -f " + two + " >/dev/null 2>&1") == 0) {
        CHECK(starts_with(read_text(two), "|1|"));
        CHECK(find("alpha", 2222).size() == 1);
        CHECK(find("beta", 2222).empty());
    }
}

TEST_CASE("known hosts: known, unknown, changed and revoked") {
    TempDir temp;
    const auto key = made_up_key('a'), other = made_up_key('b');
    const auto judge = [&](const std::string &text) {
        write_text(temp / "hosts", text);
        return judge_host_key(key, find_known_hosts("h", {temp / "hosts"}));
    };
    CHECK(judge("") == HostTrust::unknown);
    CHECK(judge(line("h", key)) == HostTrust::known);
    CHECK(judge(line("h", other)) == HostTrust::changed);
    CHECK(judge(line("h", other) + line("h", key)) == HostTrust::known);
    CHECK(judge(line("h", key) + line("@revoked *", key)) == HostTrust::revoked);
    CHECK(judge(line("@cert-authority *", key)) == HostTrust::unknown);
}

TEST_CASE("known hosts: the algorithms of known keys are asked for first") {
    CHECK(host_key_algorithms({}).rfind("ssh-ed25519,", 0) == 0);
    CHECK(host_key_algorithms({{{"ssh-rsa", ""}, "", false}}).rfind("rsa-sha2-512,rsa-sha2-256,ssh-ed25519", 0) == 0);
}

TEST_CASE("base64: RFC 4648's own examples") {
    CHECK(base64("") == "");
    CHECK(base64("f") == "Zg==");
    CHECK(base64("fo") == "Zm8=");
    CHECK(base64("foo") == "Zm9v");
    CHECK(base64("foobar") == "Zm9vYmFy");
}
