// The tasks are real processes of trainctl-agent; the test stands for srun, which gives them their place.
#include "agent/srun_ranks.h"

#include "agent/processes.h"
#include "agent/rank_task.h"
#include "agent/spawn.h"
#include "agent/srun_steps.h"
#include "base/hash.h"
#include "base/text.h"
#include "eventually.h"

#include <algorithm>
#include <csignal>
#include <doctest/doctest.h>
#include <map>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const std::string agent = std::string{TRAINCTL_BUILD_DIR} + "/trainctl-agent";

// Two ranks of a node whose ranks begin at 2, and their agent's loop in a thread of its own.
struct Node {
    explicit Node(const std::string &script, Duration arrival_limit = 60s, Duration lease = 60s)
        : mark("srun-" + token), ranks(loop, {token, "n2", [](const std::string &) {}, [this](pid_t task) { came.insert(task); }, arrival_limit}) {
        GuardSpec spec;
        spec.command = {"bash", "-c", script};
        spec.directory = "/";
        spec.environment = {{"PATH", "/usr/bin:/bin"}, {"SECRET", "s3cret"}, {"WORLD_SIZE", "4"}, {task_token_variable, token},
                            {mark_variable, mark + "/1/1/n2"}};
        spec.ranks.resize(2);
        for (std::size_t i = 0; i < 2; ++i)
            spec.ranks[i].environment = {{"RANK", std::to_string(2 + i)}, {"LOCAL_RANK", std::to_string(i)}};
        spec.lease_end = std::chrono::steady_clock::now() + lease;
        auto started = ranks.start(std::move(spec));
        REQUIRE(started);
        guard = *started;
        thread = std::thread{[this] { loop.run(); }};
    }
    ~Node() {
        if (guard.control >= 0)
            ::close(guard.control);
        loop.post([this] { loop.stop(); });
        thread.join();
        for (const int fd : guard.outputs)
            ::close(fd);
        for (const auto &[pid, how] : tasks) {
            ::kill(pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        }
        for (const pid_t pid : marked())
            ::kill(pid, SIGKILL);
    }
    Node(const Node &) = delete;
    Node &operator=(const Node &) = delete;

    pid_t start_task(int local, int rank, int pmi = -1) {
        Environment environment{{task_token_variable, token}, {"SLURMD_NODENAME", "n2"}, {"SLURM_LOCALID", std::to_string(local)},
                                {"SLURM_PROCID", std::to_string(rank)}, {"SLURM_NTASKS", "4"}, {"PMI_RANK", std::to_string(rank)},
                                {"SECRET", "not this one"}, {"SLURM_HOSTFILE", "/proc/self/fd/3"}};
        SpawnSpec spec{{agent, "task"}, environment, "/", {{2, 2}}};
        if (pmi >= 0) {
            spec.environment["PMI_FD"] = "5"; // where a guard has its ranks' output
            spec.fds.emplace_back(pmi, 5);
        }
        const auto pid = spawn(spec);
        REQUIRE(pid);
        tasks[*pid] = {};
        return *pid;
    }
    std::optional<int> ended(pid_t pid) {
        int status = 0;
        if (::waitpid(pid, &status, WNOHANG) != pid)
            return std::nullopt;
        tasks.erase(pid);
        return status;
    }
    void hear() {
        const auto news = hear_guard(guard);
        exits.insert(exits.end(), news.exits.begin(), news.exits.end());
        dead = dead || news.all_dead;
        gone = gone || news.gone;
    }
    bool has_exits(std::size_t count) {
        hear();
        return exits.size() >= count;
    }
    const GuardedExit &exit_of(int local) {
        const auto at = std::find_if(exits.begin(), exits.end(), [local](const auto &exit) { return exit.local_rank == local; });
        REQUIRE(at != exits.end());
        return *at;
    }
    bool has_said(std::size_t output, const std::string &text) {
        char buffer[65536];
        for (ssize_t n = 0; (n = ::read(guard.outputs[output], buffer, sizeof buffer)) > 0;)
            said[output].append(buffer, static_cast<std::size_t>(n));
        return said[output].find(text) != std::string::npos;
    }
    std::vector<pid_t> marked() const {
        return marked_processes([this](const Mark &found) { return found.run == mark; });
    }

    const std::string token = random_hex(16), mark;
    Loop loop;
    SrunRanks ranks;
    Guard guard;
    std::thread thread;
    std::map<pid_t, int> tasks;
    std::set<pid_t> came; // as the agent was told, before they were ranks
    std::map<std::size_t, std::string> said;
    std::vector<GuardedExit> exits;
    bool dead = false, gone = false;
};

} // namespace

TEST_CASE("srun ranks: tasks of srun become ranks of the agent, with its environment and the step's") {
    Node node{"echo rank $RANK of $WORLD_SIZE task $SLURM_PROCID pmi $PMI_RANK $SECRET token ${TRAINCTL_TASK_TOKEN:-none} "
              "hosts ${SLURM_HOSTFILE:-none}; echo oops >&2; exit $((RANK + 3))"};
    const pid_t second = node.start_task(1, 3), first = node.start_task(0, 2);
    REQUIRE(eventually([&] { return node.has_exits(2); }));
    CHECK(node.exit_of(0).exit_code == 5);
    CHECK(node.exit_of(1).exit_code == 6);
    CHECK(node.came == std::set<pid_t>{first, second}); // whose cgroups are the ranks'
    CHECK(eventually([&] { return node.has_said(0, "rank 2 of 4 task 2 pmi 2 s3cret token none hosts none\n"); }));
    CHECK(eventually([&] { return node.has_said(2, "rank 3 of 4 task 3 pmi 3 s3cret token none hosts none\n"); }));
    CHECK(eventually([&] { return node.has_said(1, "oops\n"); }));
    CHECK_FALSE(node.dead); // what they left behind dies by the kill
    tell_kill(node.guard);
    CHECK(eventually([&] { node.hear(); return node.dead; }));
    for (const pid_t task : {first, second}) {
        std::optional<int> status;
        REQUIRE(eventually([&] { return (status = node.ended(task)).has_value(); }));
        CHECK(*status == 0);
    }
}

TEST_CASE("srun ranks: the rank has PMI's connection, and its guard does not keep it open") {
    Node node{"echo hello >&$PMI_FD; exec {PMI_FD}>&-; sleep 1000"};
    auto pipe = make_pipe();
    REQUIRE(pipe);
    node.start_task(0, 2, pipe->write_end.get());
    pipe->write_end.close();
    set_nonblocking(pipe->read_end.get());
    std::string heard;
    CHECK(eventually([&] { // to its end
        char buffer[64];
        const auto n = ::read(pipe->read_end.get(), buffer, sizeof buffer);
        heard.append(buffer, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        return n == 0;
    }));
    CHECK(heard == "hello\n");
}

TEST_CASE("srun ranks: the kill takes whole trees, and who comes later is sent away") {
    Node node{"setsid sleep 1001 & (setsid bash -c 'sleep 1002 & exit' &) ; trap '' TERM; echo ready; sleep 1003; sleep 1004"};
    node.start_task(0, 2);
    REQUIRE(eventually([&] { return node.has_said(0, "ready"); }));
    tell_kill(node.guard);
    CHECK(eventually([&] { node.hear(); return node.dead; }));
    CHECK(node.marked().empty());
    CHECK(node.exit_of(0).signal == SIGKILL);
}

TEST_CASE("srun ranks: a task that comes during the kill starts nothing") {
    Node node{"trap '' TERM; echo ready; sleep 1000"};
    node.start_task(0, 2);
    REQUIRE(eventually([&] { return node.has_said(0, "ready"); }));
    node.loop.post([&] { tell_kill(node.guard); }); // then the next connection is looked at
    const pid_t late = node.start_task(1, 3);
    CHECK(eventually([&] { node.hear(); return node.dead; }));
    ::kill(late, SIGTERM); // it may still look for an agent
    CHECK(eventually([&] { return node.ended(late).has_value(); }));
    CHECK(node.marked().empty());
    CHECK_FALSE(node.has_said(2, "ready"));
}

TEST_CASE("srun ranks: a signal reaches every rank, the end of the lease kills them") {
    Node node{"trap 'echo saved' USR1; echo ready; while :; do sleep 0.05; done", 60s, 4s};
    node.start_task(0, 2);
    node.start_task(1, 3);
    REQUIRE(eventually([&] { return node.has_said(0, "ready") && node.has_said(2, "ready"); }));
    tell_signal(node.guard, SIGUSR1);
    CHECK(eventually([&] { return node.has_said(0, "saved") && node.has_said(2, "saved"); }));
    CHECK(eventually([&] { return node.has_exits(2); }));
    CHECK(node.exit_of(0).signal == SIGKILL);
    CHECK(eventually([&] { return node.marked().empty(); }));
}

TEST_CASE("srun ranks: when Slurm kills a task, its rank is named and the others die as well") {
    Node node{"trap '' TERM; echo ready; sleep 1000"};
    const pid_t victim = node.start_task(0, 2);
    node.start_task(1, 3);
    REQUIRE(eventually([&] { return node.has_said(0, "ready") && node.has_said(2, "ready"); }));
    ::kill(victim, SIGKILL);
    CHECK(eventually([&] { node.hear(); return node.gone; })); // the guard is gone: the agent kills by the mark
    REQUIRE(!node.exits.empty());
    CHECK(node.exits[0].local_rank == 0);
    CHECK(node.exits[0].signal == SIGKILL);
    CHECK(eventually([&] { return node.marked().empty(); }));
}

TEST_CASE("srun ranks: when the agent goes, so do they") {
    Node node{"trap '' TERM; echo ready; sleep 1000"};
    node.start_task(0, 2);
    REQUIRE(eventually([&] { return node.has_said(0, "ready"); }));
    ::close(std::exchange(node.guard.control, -1));
    CHECK(eventually([&] { return node.marked().empty(); }));
}

TEST_CASE("srun ranks: a rank that is not where it should be, or never comes, ends at once and says why") {
    Node node{"sleep 1000", 1s};
    node.start_task(0, 1);
    REQUIRE(eventually([&] { return node.has_exits(2); }));
    CHECK(node.exit_of(0).exit_code == 125);
    CHECK(node.exit_of(1).exit_code == 125);
    CHECK(eventually([&] { return node.has_said(1, "srun made rank 1 of 4 what should be rank 2 of 4"); }));
    CHECK(eventually([&] { return node.has_said(3, "srun started no task for local rank 1 within 1 s"); }));
    tell_kill(node.guard);
    CHECK(eventually([&] { node.hear(); return node.dead; }));
}

TEST_CASE("srun ranks: of a step's variables a rank gets what tells of MPI and of its chips") {
    const Environment step{{"SLURM_PROCID", "3"}, {"PMI_FD", "11"}, {"PMIX_RANK", "3"}, {"OMPI_MCA_x", "1"}, {"PATH", "/bin"},
                           {"CUDA_VISIBLE_DEVICES", "0"}, {"SLURM_HOSTFILE", "x"}, {task_token_variable, "t"}, {"API_KEY", "k"}};
    const Environment expected{{"SLURM_PROCID", "3"}, {"PMI_FD", "11"}, {"PMIX_RANK", "3"}, {"OMPI_MCA_x", "1"}, {"CUDA_VISIBLE_DEVICES", "0"}};
    CHECK(step_variables(step) == expected);
}

TEST_CASE("srun ranks: srun gets every rank's node in our order, and nothing secret in its arguments") {
    HeadPlan plan;
    plan.paths = {"/runs", {"gpt-k3f9x"}};
    plan.tools.srun = "/usr/bin/srun";
    const RanksStep step{3, 2, {"n4", "n1"}, "t0ken", "pmi2"};
    CHECK(ranks_step_hosts(step) == "n4\nn4\nn1\nn1\n");
    CHECK(join(ranks_step_command(plan, step, "/a"), " ") ==
          "/usr/bin/srun --overlap --overcommit --no-kill --kill-on-bad-exit=0 --wait=0 --cpu-bind=none --mem=0 --input=none "
          "--export=ALL --job-name=trainctl-ranks-3 --nodes=2 --ntasks=4 --distribution=arbitrary --chdir=" + plan.paths.dir() + " --mpi=pmi2 /a task");
    const auto environment = ranks_step_environment({{"SLURM_NTASKS", "9"}, {"SLURM_HOSTFILE", "x"}, {"A", "1"}}, plan.tools, "t0ken", 3);
    CHECK(environment == Environment{{"A", "1"}, {"SLURM_HOSTFILE", "/proc/self/fd/3"}, {task_token_variable, "t0ken"}});
}
