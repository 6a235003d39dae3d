#include "sandbox/processes.h"
#include "sandbox/site.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

using namespace trainctl;

namespace {

SandboxConfig example() {
    SandboxConfig config;
    config.spec.nodes = 2;
    config.ports = {20001, 20002, {20003, 20004}, 20005};
    config.layout = sandbox_layout("/s", 7);
    config.user = {"ann", 7, false};
    return config;
}

SandboxConfig strict_example() {
    auto config = example();
    make_strict(config.spec);
    config.machine = {"", false, ""};
    return config;
}

bool has_line(const std::string &text, const std::string &line) { return ("\n" + text).find("\n" + line + "\n") != std::string::npos; }

bool names(const std::string &text, const std::string &key) { return ("\n" + text).find("\n" + key + "=") != std::string::npos; }

std::map<std::string, SandboxPart> parts_by_name(const SandboxConfig &config) {
    std::map<std::string, SandboxPart> parts;
    for (auto &part : sandbox_parts(config))
        parts[part.name] = part;
    return parts;
}

} // namespace

TEST_CASE("sandbox site: a plain one has none of a strict one's rules") {
    const auto text = slurm_conf_text(example());
    for (const auto *key : {"Prolog", "Epilog", "PrologFlags", "JobSubmitPlugins", "DefMemPerCPU", "AccountingStorageEnforce"}) {
        CAPTURE(key);
        CHECK(!names(text, key));
    }
    CHECK(text.find("AllocNodes") == std::string::npos);
    for (const auto *line : {"KillWait=5", "SlurmdTimeout=10", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none",
                             "SelectTypeParameters=CR_CPU", "AccountingStorageType=accounting_storage/none",
                             "AuthInfo=socket=/s/run/munge.sock"}) {
        CAPTURE(line);
        CHECK(has_line(text, line));
    }
    CHECK(describe_site(example()).empty());
}

TEST_CASE("sandbox site: a strict one has Slurm's own scheduling and timeouts, and its rules") {
    auto config = strict_example();
    const auto text = slurm_conf_text(config);
    CHECK(!names(text, "KillWait"));
    CHECK(!names(text, "SchedulerParameters"));
    for (const auto *line :
         {"SlurmdTimeout=300", "Prolog=/s/etc/prolog", "Epilog=/s/etc/epilog", "PrologFlags=Alloc,Contain", "JobSubmitPlugins=lua",
          "ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup", "SelectTypeParameters=CR_CPU_Memory", "DefMemPerCPU=4000",
          "AuthInfo=socket=/s/run/munge-login/munge.sock",
          "PartitionName=urgent Nodes=ALL AllocNodes=login PriorityTier=100 PreemptMode=OFF MaxTime=1-00:00:00 DefaultTime=01:00:00 "
          "State=UP"}) {
        CAPTURE(line);
        CHECK(has_line(text, line));
    }
    CHECK(describe_site(config).size() == 3);
    config.spec.slurmd_timeout_s = 20;
    config.spec.prolog = "/p";
    CHECK(has_line(slurm_conf_text(config), "SlurmdTimeout=20"));
    CHECK(has_line(slurm_conf_text(config), "Prolog=/p"));
}

TEST_CASE("sandbox site: what the machine does not allow is left out, and said with the reason") {
    auto config = strict_example();
    config.machine = {"no namespaces: because", false, "no groups: because"};
    const auto text = slurm_conf_text(config);
    CHECK(text.find("AllocNodes") == std::string::npos);
    CHECK(has_line(text, "ProctrackType=proctrack/linuxproc"));
    CHECK(has_line(text, "PrologFlags=Alloc"));
    CHECK(has_line(text, "AuthInfo=socket=/s/run/munge.sock"));
    const auto lines = describe_site(config);
    REQUIRE(lines.size() == 3);
    CHECK(lines[1].find("no namespaces: because") != std::string::npos);
    CHECK(lines[2].find("no groups: because") != std::string::npos);
    for (const auto &part : sandbox_parts(config)) {
        CHECK(!part.isolation.wanted());
        CHECK(part.name != "munged-nodes");
    }
}

TEST_CASE("sandbox site: nodes have a host name, and a munged of their own where the login's is") {
    const auto parts = parts_by_name(strict_example());
    CHECK(parts.at("munged").argv.back() == "--origin=127.0.0.1");
    CHECK(parts.at("munged").socket == "/s/run/munge-login/munge.sock");
    CHECK(parts.at("munged-nodes").argv.back() == "--origin=127.0.0.2");
    CHECK(parts.at("n2").isolation.hostname == "n2");
    CHECK(parts.at("n2").isolation.binds ==
          std::vector<std::pair<std::string, std::string>>{{"/s/run/munge-nodes", "/s/run/munge-login"}});
    CHECK(parts.at("slurmctld").isolation.binds == std::vector<std::pair<std::string, std::string>>{{"/s/etc/hosts", "/etc/hosts"}});
    CHECK(hosts_text("127.0.0.1 mine\n") == "127.0.0.1 login\n127.0.0.2 node\n127.0.0.1 mine\n");
}

TEST_CASE("sandbox site: jobs in urgent end those in preemptible, and no others") {
    auto config = example();
    config.spec.preempt_grace_s = 3;
    const auto text = slurm_conf_text(config);
    CHECK(has_line(text, "PreemptType=preempt/partition_prio"));
    CHECK(has_line(text, "PreemptMode=CANCEL"));
    CHECK(has_line(text, "PartitionName=preemptible Nodes=ALL PriorityTier=1 GraceTime=3 MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP"));
    for (const auto *partition : {"gpu", "short", "down", "urgent"}) {
        const auto at = text.find(std::string{"PartitionName="} + partition);
        REQUIRE(at != std::string::npos);
        CHECK(text.substr(at, text.find('\n', at) - at).find("PreemptMode=OFF") != std::string::npos);
    }
}

TEST_CASE("sandbox site: the accounting starts before slurmctld, on a socket and a port of its own") {
    auto config = example();
    config.spec.accounting = true;
    const auto text = slurm_conf_text(config);
    for (const auto *line : {"AccountingStorageType=accounting_storage/slurmdbd", "AccountingStoragePort=20005",
                             "AccountingStoragePass=/s/run/munge.sock", "AccountingStoreFlags=job_comment",
                             "JobAcctGatherType=jobacct_gather/linux"}) {
        CAPTURE(line);
        CHECK(has_line(text, line));
    }
    CHECK(!names(text, "AccountingStorageEnforce"));
    const auto database = slurmdbd_conf_text(config);
    for (const auto *line : {"DbdPort=20005", "SlurmUser=ann", "StorageUser=ann", "StorageHost=localhost"}) {
        CAPTURE(line);
        CHECK(has_line(database, line));
    }
    const auto parts = sandbox_parts(config);
    REQUIRE(parts.size() == 7);
    CHECK(parts[1].name == "mariadbd");
    CHECK(parts[1].socket == "/s/run/database.sock");
    CHECK(parts[1].first);
    CHECK(parts[2].name == "slurmdbd");
    CHECK(parts[2].port == 20005);
    CHECK(parts[2].first);
    CHECK(parts[3].name == "slurmctld");
    const auto has_root = [](const std::vector<std::string> &argv) { return std::count(argv.begin(), argv.end(), "--user=root") == 1; };
    CHECK(!has_root(mariadbd_command(config)));
    config.user = {"root", 0, false};
    CHECK(has_root(mariadbd_command(config)));
    config.spec.max_submit_jobs = 1;
    CHECK(has_line(slurm_conf_text(config), "AccountingStorageEnforce=associations,limits"));
    CHECK(describe_site(config).size() == 1);
}

TEST_CASE("sandbox site: slurmdbd has no argument of its own, and is found by its mark") {
    auto config = example();
    config.spec.accounting = true;
    const auto part = parts_by_name(config).at("slurmdbd");
    ProcessInfo other, ours;
    other.pid = 10;
    ours.pid = 11;
    for (auto *process : {&other, &ours}) {
        process->program = "slurmdbd";
        process->arguments = {"slurmdbd", "-D"};
    }
    ours.marked = true;
    CHECK(find_part(part, {other, ours}) == 11);
    CHECK(find_part(part, {other}) == 0);
}

TEST_CASE("sandbox site: options that do not fit together are refused") {
    SandboxSpec spec;
    SUBCASE("site") { spec.site = "loose"; }
    SUBCASE("limit without accounting") { spec.max_submit_jobs = 1; }
    SUBCASE("negative limit") {
        spec.accounting = true;
        spec.max_submit_jobs = -1;
    }
    SUBCASE("grace") { spec.preempt_grace_s = -1; }
    CHECK((spec == SandboxSpec{} || !check_sandbox(spec, "/s")));
}
