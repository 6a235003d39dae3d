#include "agent/guard.h"
#include "agent/processes.h"
#include "agent/spawn.h"
#include "eventually.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <fcntl.h>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const std::string agent = std::string{TRAINCTL_BUILD_DIR} + "/trainctl-agent";

Instant soon(Duration time) { return std::chrono::steady_clock::now() + time; }

// A rank that tries to get away in every way: its own session, a daemon by two forks, one without its environment.
GuardSpec escaping(const std::string &run) {
    GuardSpec spec;
    spec.command = {"bash", "-c", "setsid sleep 1001 & (setsid bash -c 'sleep 1002 & exit' &) ; env -i setsid sleep 1003 & "
                                  "trap '' TERM HUP INT; echo ready; sleep 1004; sleep 1005"};
    spec.directory = "/";
    spec.environment = {{"PATH", "/usr/bin:/bin"}, {mark_variable, run + "/1/1/n1"}};
    spec.ranks.resize(2);
    spec.lease_end = soon(60s);
    return spec;
}

struct Guarded {
    explicit Guarded(const GuardSpec &spec) {
        auto started = start_guard(agent, spec);
        REQUIRE(started);
        guard = *started;
    }
    ~Guarded() {
        if (guard.control >= 0)
            ::close(guard.control);
        for (const int fd : guard.outputs)
            ::close(fd);
        if (!reaped)
            ::waitpid(guard.pid, nullptr, 0);
    }
    Guarded(const Guarded &) = delete;
    Guarded &operator=(const Guarded &) = delete;

    bool has_said(std::size_t output, const std::string &text) {
        char buffer[65536];
        ssize_t n = 0;
        while ((n = ::read(guard.outputs[output], buffer, sizeof buffer)) > 0)
            said[output].append(buffer, static_cast<std::size_t>(n));
        return said[output].find(text) != std::string::npos;
    }
    bool dead() {
        const auto news = hear_guard(guard);
        exits.insert(exits.end(), news.exits.begin(), news.exits.end());
        died = died || news.all_dead;
        return died;
    }
    std::vector<pid_t> tree() const { return descendants_of(guard.pid, list_processes()); }

    Guard guard;
    std::map<std::size_t, std::string> said;
    std::vector<GuardedExit> exits;
    bool died = false, reaped = false;
};

bool alive(pid_t pid) {
    for (const auto &process : list_processes())
        if (process.pid == pid)
            return process.state != 'Z';
    return false;
}

bool none_alive(const std::vector<pid_t> &pids) {
    return std::none_of(pids.begin(), pids.end(), [](pid_t pid) { return alive(pid); });
}

} // namespace

TEST_CASE("guard: a kill ends the whole tree, whatever it did to get away") {
    Guarded it{escaping("guard-kill")};
    REQUIRE(eventually([&] { return it.has_said(0, "ready") && it.has_said(2, "ready") && it.tree().size() >= 10; }));
    const auto tree = it.tree();
    tell_kill(it.guard);
    CHECK(eventually([&] { return it.dead(); }));
    CHECK(none_alive(tree));
    CHECK(it.exits.size() == 2);
}

TEST_CASE("guard: when the agent dies, so does the tree") {
    Guarded it{escaping("guard-orphan")};
    REQUIRE(eventually([&] { return it.has_said(0, "ready") && it.has_said(2, "ready") && it.tree().size() >= 10; }));
    const auto tree = it.tree();
    ::close(std::exchange(it.guard.control, -1)); // as the kernel does for a process that was killed
    CHECK(eventually([&] { return none_alive(tree); }));
}

TEST_CASE("guard: when the lease ends, so does the tree, and not before") {
    auto spec = escaping("guard-lease");
    spec.lease_end = soon(1s);
    Guarded it{spec};
    REQUIRE(eventually([&] { return it.has_said(0, "ready"); }));
    const auto renewed = soon(2s);
    tell_lease(it.guard, renewed);
    CHECK(eventually([&] { return it.dead(); }));
    CHECK(std::chrono::steady_clock::now() >= renewed);
}

TEST_CASE("guard: exits, signals to the ranks themselves, and SIGTERM is for others") {
    GuardSpec spec;
    spec.command = {"bash", "-c", "case $R in 0) exit 7;; 1) kill -9 $$;; 2) trap 'echo saved; exit 0' USR1; echo up; while :; do sleep 0.05; done;; esac"};
    spec.directory = "/";
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    spec.ranks = {{{{"R", "0"}}, {}}, {{{"R", "1"}}, {}}, {{{"R", "2"}}, {}}};
    spec.lease_end = soon(60s);
    Guarded it{spec};
    REQUIRE(eventually([&] { return !it.dead() && it.exits.size() == 2 && it.has_said(4, "up"); }));
    ::kill(it.guard.pid, SIGTERM);
    tell_signal(it.guard, SIGUSR1);
    REQUIRE(eventually([&] { return !it.dead() && it.exits.size() == 3 && it.has_said(4, "saved"); }));
    for (const auto &exit : it.exits) {
        CHECK(exit.exit_code == (exit.local_rank == 0 ? 7 : 0));
        CHECK(exit.signal == (exit.local_rank == 1 ? SIGKILL : 0));
    }
    tell_kill(it.guard);
    CHECK(eventually([&] { return it.dead(); }));
}

TEST_CASE("guard: a signal passes a launcher that knows nothing of it, and stops at the worker that does") {
    GuardSpec spec;
    // The worker's child has inherited nothing: it would die of the signal, and say so by its end.
    spec.command = {"bash", "-c", "bash -c \"trap 'echo saved' USR1; { sleep 1006 || echo hurt; } & echo up; while :; do sleep 0.05; done\" & wait; echo launcher went on"};
    spec.directory = "/";
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    spec.ranks.resize(1);
    spec.lease_end = soon(60s);
    Guarded it{spec};
    REQUIRE(eventually([&] { return !it.dead() && it.has_said(0, "up"); }));
    tell_signal(it.guard, SIGUSR1);
    REQUIRE(eventually([&] { return !it.dead() && it.has_said(0, "saved"); }));
    tell_signal(it.guard, SIGUSR1);
    REQUIRE(eventually([&] { return !it.dead() && it.has_said(0, "saved\nsaved"); }));
    CHECK(!it.has_said(0, "hurt"));
    CHECK(it.exits.empty());
    tell_kill(it.guard);
    CHECK(eventually([&] { return it.dead(); }));
}

TEST_CASE("guard: a program that can't be started says so on its own stderr") {
    GuardSpec spec;
    spec.command = {"/no/such/program"};
    spec.directory = "/";
    spec.ranks.resize(1);
    spec.lease_end = soon(60s);
    Guarded it{spec};
    CHECK(eventually([&] { return it.has_said(1, "cannot start /no/such/program: no such file"); }));
    CHECK(eventually([&] { return !it.dead() && it.exits.size() == 1; }));
    CHECK(it.exits.at(0).exit_code == 127);
    tell_kill(it.guard);
    CHECK(eventually([&] { return it.dead(); }));
}

TEST_CASE("spawn: nothing is inherited that was not named") {
    TempDir dir;
    const Fd leaked{::fcntl(2, F_DUPFD, 100)}; // not closed on exec; bash opens low ones itself
    auto out = make_pipe();
    REQUIRE(out);
    const auto pid = spawn({{"bash", "-c", "for f in /proc/$$/fd/*; do printf '%s ' ${f##*/}; done; pwd; env; cat"},
                            {{"PATH", "/usr/bin:/bin"}, {"ONLY", "a\nb"}}, dir.path(), {{out->write_end.get(), 1}}});
    REQUIRE(pid);
    out->write_end.close();
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(out->read_end.get(), buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(n));
    int status = 0;
    ::waitpid(*pid, &status, 0);
    CHECK(status == 0); // cat found /dev/null
    CHECK(text.find(" " + std::to_string(leaked.get()) + " ") == std::string::npos);
    CHECK(text.find(dir.path()) != std::string::npos);
    CHECK(text.find("ONLY=a\nb\n") != std::string::npos);
    CHECK(text.find("HOME=") == std::string::npos);
}

TEST_CASE("processes: marks are read back, and only those wanted are found") {
    const auto mark = parse_mark(to_string(Mark{"run-x", 2, 3, "n1"}));
    REQUIRE(mark);
    CHECK(mark->attempt == 2);
    CHECK(mark->generation == 3);
    CHECK(mark->node == "n1");
    for (const char *text : {"", "a", "a/1/2", "a/x/2/n", "/1/2/n", "a/1/2/n/m"})
        CHECK(!parse_mark(text));
    const auto pid = spawn({{"sleep", "1006"}, {{"PATH", "/usr/bin:/bin"}, {mark_variable, "marked-run/2/1/n1"}}});
    REQUIRE(pid);
    const auto found = [](int attempt) {
        return marked_processes([attempt](const Mark &m) { return m.run == "marked-run" && m.attempt < attempt; });
    };
    CHECK(eventually([&] { return found(3) == std::vector<pid_t>{*pid}; }));
    CHECK(found(2).empty());
    ::kill(*pid, SIGKILL);
    ::waitpid(*pid, nullptr, 0);
}
