#include "sandbox/layout.h"
#include "sandbox/sandbox.h"

#include <doctest/doctest.h>

using namespace trainctl;

namespace {

SandboxConfig example() {
    SandboxConfig config;
    config.spec.nodes = 2;
    config.ports = {20001, 20002, {20003, 20004}};
    config.layout = sandbox_layout("/s", 7);
    config.user = {"ann", 7, false};
    return config;
}

bool has_line(const std::string &text, const std::string &line) { return ("\n" + text).find("\n" + line + "\n") != std::string::npos; }

} // namespace

TEST_CASE("sandbox layout: sockets fit into a Unix address, whatever the state folder") {
    CHECK(sandbox_layout("/s", 7).sockets == "/s/run");
    const auto deep = sandbox_layout("/" + std::string(200, 'd'), 7);
    CHECK(deep.spool("n512").size() + std::string{"/n512_4294967295.4294967295"}.size() < 108);
    CHECK(deep.sockets != sandbox_layout("/" + std::string(201, 'd'), 7).sockets);
}

TEST_CASE("sandbox layout: what Slurm's files can't hold is refused") {
    const SandboxSpec good;
    CHECK(check_sandbox(good, "/home/ann/.local/state"));
    for (const auto *state : {"/home/an n", "/home/%n", "/a#b", "/a\nb", ""}) {
        CAPTURE(state);
        CHECK(!check_sandbox(good, state));
    }
    SandboxSpec bad = good;
    SUBCASE("name") { bad.name = "../x"; }
    SUBCASE("upper case") { bad.name = "X"; }
    SUBCASE("nodes") { bad.nodes = 0; }
    SUBCASE("gpus") { bad.gpus_per_node = -1; }
    SUBCASE("chip") { bad.chip = "h100 x"; }
    SUBCASE("scheduler") { bad.scheduler = "fast"; }
    SUBCASE("timeout") { bad.slurmd_timeout_s = 0; }
    SUBCASE("prolog") { bad.prolog = "relative"; }
    CHECK((bad == good || !check_sandbox(bad, "/s")));
}

TEST_CASE("sandbox layout: the configuration names every node, port and GPU") {
    auto config = example();
    const auto text = slurm_conf_text(config);
    CHECK(has_line(text, "SlurmctldPort=20001"));
    CHECK(has_line(text, "NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=20004 CPUs=16 RealMemory=512000 Gres=gpu:h100:8"));
    CHECK(has_line(text, "SchedulerParameters=batch_sched_delay=0,sched_interval=1"));
    CHECK(text.find("\nProlog=") == std::string::npos);
    CHECK(gres_conf_text(config) == "NodeName=n[1-2] Name=gpu Type=h100 File=/s/gpu/nvidia[0-7]\n");
    config.spec.gpus_per_node = 0;
    config.spec.scheduler = "default";
    config.spec.prolog = "/p";
    const auto other = slurm_conf_text(config);
    CHECK(other.find("Gres") == std::string::npos);
    CHECK(other.find("SchedulerParameters") == std::string::npos);
    CHECK(has_line(other, "Prolog=/p"));
    CHECK(gres_conf_text(config).empty());
}

TEST_CASE("sandbox layout: sshd listens on loopback and clients know its key") {
    const auto config = example();
    CHECK(has_line(sshd_config_text(config), "ListenAddress 127.0.0.1:20002"));
    CHECK(has_line(sshd_config_text(config), "UsePAM no"));
    CHECK(known_hosts_text(config, "ssh-ed25519 AAAA comment\n") == "[127.0.0.1]:20002 ssh-ed25519 AAAA\n");
    const auto profiles = sandbox_profiles(config);
    REQUIRE(profiles.size() == 2);
    CHECK(profiles[0].name == "sandbox");
    CHECK(profiles[0].via == Via::ssh);
    CHECK(profiles[1].name == "sandbox-local");
    CHECK(profiles[1].via == Via::local);
    CHECK(profiles[1].environment.at("SLURM_CONF") == "/s/etc/slurm.conf");
}

TEST_CASE("sandbox layout: ports are outside the range of outgoing connections, and all different") {
    const auto candidates = port_candidates(42, 100);
    CHECK(std::set<int>(candidates.begin(), candidates.end()).size() == 100);
    for (const int port : candidates)
        CHECK((port >= 20000 && port < 32000));
    CHECK(candidates == port_candidates(42, 100));
    CHECK(candidates != port_candidates(43, 100));
    const auto chosen = choose_ports({5, 6, 7, 8, 9, 10}, 2);
    REQUIRE(chosen);
    CHECK(*chosen == SandboxPorts{5, 6, {8, 9}, 7});
    CHECK(!choose_ports({5, 6, 7, 8}, 2));
}

TEST_CASE("sandbox record: what is written is read, and what is odd is refused") {
    const auto config = example();
    const auto record = parse_sandbox_record(dump_json(sandbox_record({config.spec, config.ports, config.machine})), "x");
    REQUIRE(record);
    CHECK(record->spec == config.spec);
    CHECK(record->ports == config.ports);
    CHECK(record->machine == config.machine);
    for (const auto *text : {"", "{}", "[]", "{\"format\":99}", "{\"format\":1,\"name\":3}"}) {
        CAPTURE(text);
        CHECK(!parse_sandbox_record(text, "x"));
    }
}

TEST_CASE("sandbox: missing packages are named once, and only those") {
    const SandboxSpec plain;
    SandboxSpec accounting;
    accounting.accounting = true;
    CHECK(missing_packages(accounting, [](const auto &program) { return program != "slurmdbd" && program != "mariadbd"; }) ==
          std::vector<std::string>{"mariadb-server", "slurmdbd"});
    CHECK(missing_packages(plain, [](const auto &) { return true; }).empty());
    CHECK(missing_packages(plain, [](const auto &) { return false; }) ==
          std::vector<std::string>{"slurm-wlm", "munge", "openssh-server", "openssh-client"});
    CHECK(missing_packages(plain, [](const auto &program) { return program != "munged"; }) == std::vector<std::string>{"munge"});
}

TEST_CASE("sandbox: which of Slurm's node states run jobs") {
    for (const auto *state : {"idle", "mixed", "allocated", "mixed-", "idle-"})
        CHECK(node_serves(state));
    for (const auto *state : {"idle*", "down", "down*", "drained", "unknown", "inval", "down-", "-", ""})
        CHECK(!node_serves(state));
}
