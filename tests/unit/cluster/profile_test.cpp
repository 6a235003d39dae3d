#include "cluster/profile.h"

#include "base/files.h"
#include "cluster/profile_text.h"
#include "support/temp_dir.h"

#include <cstdlib>
#include <doctest/doctest.h>
#include <random>
#include <thread>

using namespace trainctl;

namespace {

std::string problems_of(const std::string &text) {
    std::string out;
    for (const auto &problem : parse_profiles(text, "c.yaml").problems)
        out += problem.text() + "\n";
    return out;
}

Profile ssh_profile(const std::string &name) {
    Profile profile;
    profile.name = name;
    profile.via = Via::ssh;
    profile.host = name + ".example";
    profile.ssh_config = "/tmp/state dir/ssh_config";
    profile.root = "/shared/" + name;
    profile.environment = {{"SLURM_CONF", "/etc/slurm/slurm.conf"}, {"PATH", "/opt/slurm/bin:/usr/bin"}};
    profile.partition = "gpu";
    return profile;
}

const char *const two = R"(# mine
clusters:
  # the big one
  big:
    via: ssh   # by key
    host: big.example
    # inside of big

  # the small one
  small: {root: /data/tc}
# the end
)";

} // namespace

TEST_CASE("profiles: how long sbatch goes on trying is in range, and is kept") {
    const auto parsed = parse_profiles("clusters:\n  a: {submit_retry: 5m}\n  b: {}\n", "c.yaml");
    CHECK(parsed.profiles.at("a").submit_retry == std::chrono::seconds{300});
    CHECK(!parsed.profiles.at("b").submit_retry);
    for (const char *bad : {"0s", "4s", "2h", "soon"})
        CHECK(problems_of("clusters:\n  a: {submit_retry: " + std::string{bad} + "}\n").find("submit_retry") != std::string::npos);
}

TEST_CASE("profiles: a file as people write it") {
    const auto parsed = parse_profiles(two, "c.yaml");
    CHECK(problems_of(two) == "");
    REQUIRE(parsed.profiles.size() == 2);
    CHECK(parsed.profiles.at("big").via == Via::ssh);
    CHECK(parsed.profiles.at("big").root == "~/trainctl");
    CHECK(parsed.profiles.at("small").root == "/data/tc");
    CHECK(parsed.profiles.at("small").agent_network == AgentNetwork::automatic);
    CHECK(parse_profiles("clusters:\n  a: {agent_network: srun}\n", "c.yaml").profiles.at("a").agent_network == AgentNetwork::srun);
    CHECK(problems_of("clusters:\n  a: {agent_network: udp}\n") != "");
    CHECK(problems_of("") == "");
    CHECK(problems_of("clusters:\n") == "");
}

TEST_CASE("profiles: problems have their place, and what was meant") {
    struct Row {
        const char *text, *problems;
    };
    const Row rows[] = {
        {"cluster:\n  a: {}\n", "c.yaml:1:1: unknown key 'cluster': did you mean 'clusters'?\n"},
        {"clusters:\n  a:\n    hots: x\n    via: shh\n",
         "c.yaml:3:5: unknown key 'hots': did you mean 'host'?\n"
         "c.yaml:4:10: 'via' must be one of local, ssh, not 'shh': did you mean 'ssh'?\n"},
        {"clusters:\n  a:\n    via: ssh\n", "c.yaml:3:5: 'via: ssh' needs 'host': the login node's name\n"},
        {"clusters:\n  a:\n    host: x\n", "c.yaml:3:5: 'host' needs 'via: ssh'\n"},
        {"clusters:\n  a: 3\n", "c.yaml:2:6: cluster 'a' must be a map of keys, not a text\n"},
        {"clusters: [a]\n", "c.yaml:1:11: 'clusters' must be a map of names and clusters, not a list\n"},
        {"- a\n", "c.yaml:1:1: must begin with 'clusters:', not with a list\n"},
        {"clusters:\n  a:\n    root: relative\n",
         "c.yaml:3:11: 'root' must begin with '/', '~/' or '$HOME/', not 'relative'\n"},
        {"clusters:\n  a:\n    root: /x\n  a:\n    root: /y\n",
         "c.yaml:4:3: duplicate key 'a': it stands at line 2 already\n"},
        {"clusters:\n  -a:\n    root: /x\n", "c.yaml:2:3: a cluster's name has letters, digits, '-', '_' and '.', at "
                                             "most 64 of them, not '-a'\n"},
        {"clusters:\n  a:\n    host: -oProxyCommand=x\n    via: ssh\n",
         "c.yaml:3:11: 'host' can't begin with '-': '-oProxyCommand=x'\n"},
    };
    for (const auto &row : rows) {
        CAPTURE(row.text);
        CHECK(problems_of(row.text) == row.problems);
    }
}

TEST_CASE("profiles: adding and removing keeps everything else as it was") {
    const auto added = edit_profiles(two, "c.yaml", {ssh_profile("sandbox")}, {});
    REQUIRE(added.ok());
    const std::string block = R"(  sandbox:
    via: ssh
    host: sandbox.example
    ssh_config: "/tmp/state dir/ssh_config"
    root: /shared/sandbox
    environment:
      PATH: "/opt/slurm/bin:/usr/bin"
      SLURM_CONF: /etc/slurm/slurm.conf
    partition: gpu
    agent_network: auto
)";
    std::string expected = two;
    expected.insert(expected.find("# the end"), block);
    CHECK(*added == expected);
    const auto removed = edit_profiles(*added, "c.yaml", {}, {"sandbox"});
    REQUIRE(removed.ok());
    CHECK(*removed == two);
}

TEST_CASE("profiles: replacing one keeps the comments around it") {
    Profile big = ssh_profile("big");
    big.environment.clear();
    const auto changed = edit_profiles(two, "c.yaml", {big}, {});
    REQUIRE(changed.ok());
    CHECK(*changed == R"(# mine
clusters:
  # the big one
  big:
    via: ssh
    host: big.example
    ssh_config: "/tmp/state dir/ssh_config"
    root: /shared/big
    partition: gpu
    agent_network: auto

  # the small one
  small: {root: /data/tc}
# the end
)");
}

TEST_CASE("profiles: a file that has problems or an odd form is left alone") {
    const auto broken = edit_profiles("clusters:\n  a:\n    vai: ssh\n", "c.yaml", {ssh_profile("b")}, {});
    REQUIRE(!broken.ok());
    CHECK(broken.error().message == "c.yaml:3:5: unknown key 'vai': did you mean 'via'?");
    const auto odd = edit_profiles("clusters: {a: {root: /x}}\n", "c.yaml", {ssh_profile("b")}, {});
    REQUIRE(!odd.ok());
    CHECK(odd.error().message == "c.yaml: can't be changed without touching the rest of it");
    Profile bad = ssh_profile("b");
    bad.host = "two\nlines";
    const auto refused = edit_profiles("", "c.yaml", {bad}, {});
    REQUIRE(!refused.ok());
    CHECK(refused.error().message == "c.yaml:4:11: 'host' can't have a line break in it");
}

TEST_CASE("profiles: saved, loaded, found") {
    TempDir dir;
    const std::string path = dir / "config/trainctl/clusters.yaml";
    const auto none = load_profiles(path);
    REQUIRE(none.ok());
    CHECK(none->empty());
    CHECK(find_profile(path, "").value() == login_node_profile());
    CHECK(find_profile(path, "sandbox").error().hint.find("trainctl sandbox up") != std::string::npos);

    Profile local = login_node_profile();
    local.name = "sandbox-local";
    local.root = "";
    REQUIRE(save_profiles(path, {ssh_profile("sandbox"), local}, {}).ok());
    CHECK(find_profile(path, "sandbox").value() == ssh_profile("sandbox"));
    CHECK(find_profile(path, "sandbox-local").value().root == "~/trainctl");
    const auto missing = find_profile(path, "sandbx");
    REQUIRE(!missing.ok());
    CHECK(missing.error().kind == ErrorKind::not_found);
    CHECK(missing.error().text() == path + ": no cluster called 'sandbx'\nhint: did you mean 'sandbox'?");

    Profile usual = ssh_profile("default");
    REQUIRE(save_profiles(path, {usual}, {"sandbox", "never-there"}).ok());
    CHECK(find_profile(path, "").value() == usual);
    CHECK(!find_profile(path, "sandbox").ok());
    REQUIRE(save_profiles(path, {}, {"default", "sandbox-local"}).ok());
    CHECK(load_profiles(path)->empty());
}

TEST_CASE("profiles: a root in the home folder") {
    for (const char *home : {"~", "$HOME"}) {
        CHECK(expand_home(home, "/home/me") == "/home/me");
        CHECK(expand_home(std::string{home} + "/runs", "/home/me") == "/home/me/runs");
        CHECK(expand_home(std::string{home} + "work", "/home/me") == std::string{home} + "work");
    }
    CHECK(expand_home("~/runs", "/") == "/runs");
    CHECK(expand_home("/scratch/~", "/home/me") == "/scratch/~");
}

TEST_CASE("profiles: two at a time lose nothing") {
    TempDir dir;
    const std::string path = dir / "clusters.yaml";
    bool fine[8] = {};
    std::vector<std::thread> writers;
    for (int i = 0; i < 8; ++i)
        writers.emplace_back(
            [&, i] { fine[i] = save_profiles(path, {ssh_profile("c" + std::to_string(i))}, {}).ok(); });
    for (auto &writer : writers)
        writer.join();
    for (const bool one : fine)
        CHECK(one);
    CHECK(load_profiles(path)->size() == 8);
}

TEST_CASE("profiles: a link stays a link") {
    TempDir dir;
    REQUIRE(PosixFiles{}.write(dir / "dotfiles.yaml", "clusters:\n").ok());
    std::filesystem::create_symlink(dir / "dotfiles.yaml", dir / "clusters.yaml");
    REQUIRE(save_profiles(dir / "clusters.yaml", {ssh_profile("a")}, {}).ok());
    CHECK(std::filesystem::is_symlink(dir / "clusters.yaml"));
    CHECK(load_profiles(dir / "dotfiles.yaml")->count("a") == 1);
}

TEST_CASE("profiles: defaults fill only what the experiment leaves open") {
    Experiment experiment;
    experiment.resources.partition = "mine";
    Profile profile;
    profile.partition = "theirs";
    profile.account = "lab";
    apply_defaults(experiment, profile);
    CHECK(experiment.resources.partition == "mine");
    CHECK(experiment.resources.account == "lab");
    CHECK(experiment.resources.qos == "");
}

TEST_CASE("profiles: random edits give what was asked for, or change nothing") {
    std::mt19937 random(20261122);
    const auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    std::string text = two;
    for (int i = 0; i < 300; ++i) {
        CAPTURE(i);
        CAPTURE(text);
        const auto before = parse_profiles(text, "c.yaml").profiles;
        Profile profile = ssh_profile("c" + std::to_string(pick(5)));
        profile.environment["X"] = pick(2) != 0 ? "a: b # c\n\"'" : "no";
        std::vector<std::string> remove;
        if (pick(2) != 0)
            remove.push_back("c" + std::to_string(pick(5)));
        const auto changed = edit_profiles(text, "c.yaml", {profile}, remove);
        REQUIRE(changed.ok());
        auto wanted = before;
        for (const auto &name : remove)
            wanted.erase(name);
        wanted[profile.name] = profile;
        CHECK(parse_profiles(*changed, "c.yaml").profiles == wanted);
        CHECK(changed->find("# the small one\n  small: {root: /data/tc}\n") != std::string::npos);
        text = *changed;
    }
}
