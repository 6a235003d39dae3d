// Attempts whose agents reach their head through srun's streams, with real processes.
#include "attempt_flow.h"

using namespace trainctl;

namespace {

// As fake_srun, but all agents read what it reads, and write what it writes.
constexpr const char *wired_srun = R"(#!/bin/bash
all=("$@")
for word; do case $word in
  --nodelist=*) nodes=${word#*=} ;;
  --*) ;;
  *) break ;;
esac; shift; done
exec 4<&0
inputs=()
[ -e "$STATE/no-address" ] && sed -i 's/"port":[0-9]*/"port":1/' "$4/attempts/001/head.json" # <agent> node --run-dir <dir>
for node in ${nodes//,/ }; do
  mkfifo "$STATE/input.$node.$$"
  inputs+=("$STATE/input.$node.$$")
  SLURMD_NODENAME=$node "$@" < "$STATE/input.$node.$$" &
  echo $! > "$STATE/agent.$node.new" && mv "$STATE/agent.$node.new" "$STATE/agent.$node"
done
agents=$(jobs -p)
tee -p "${inputs[@]}" <&4 >/dev/null &
tee=$!
echo $$ $tee > "$STATE/srun.new" && mv "$STATE/srun.new" "$STATE/srun.pids"
echo "${all[@]}" >> "$STATE/sruns"
echo an odd line of srun
for job in $agents; do wait $job; done
kill $tee
exit 0
)";

struct WiredAttempt : Attempt {
    WiredAttempt(const std::string &script, AgentNetwork network) : Attempt(script) {
        plan.info.agent_network = network;
        std::ofstream{dir / "srun"} << wired_srun;
        plan.experiment.recovery.in_place = InPlace::on;
    }
    std::string agent_log() const { return slurp(plan.paths.attempt_file(plan.attempt, "logs/agent.log")); }
    bool says(const std::string &text) const { return agent_log().find(text) != std::string::npos; }
};

} // namespace

TEST_CASE("flow: through srun's streams a training starts, restarts in place and ends, and ranks have none of them") {
    WiredAttempt it{staying + "readlink /proc/self/fd/0 > stdin.$RANK; [ $TRAINCTL_GENERATION = 2 ] && exit 0; "
                              "while [ ! -e go ]; do sleep 0.05; done; [ $RANK = 2 ] && exit 7; sleep 2021", AgentNetwork::srun};
    // Larger than a line, a pipe, and what a pipe takes at once.
    for (const char *name : {"LARGE", "LARGER"})
        it.plan.secrets[name] = std::string(100000, 's');
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    std::ofstream{join_path(it.plan.paths.file("work"), "go")};
    const auto outcome = it.finish();
    INFO(it.agent_log());
    CHECK(outcome.kind == OutcomeKind::finished);
    CHECK(outcome.generations == 2);
    for (const char *node : {"n1", "n2"})
        CHECK(it.says(std::string{"the agent on "} + node + " is here, by srun's streams"));
    CHECK(!it.says("by TCP"));
    CHECK(it.says("agents: an odd line of srun"));
    for (const char *rank : {"0", "1", "2", "3"})
        CHECK(it.work(std::string{"stdin."} + rank) == "/dev/null\n");
    CHECK(slurp(it.dir / "progress.json").find("\"agents_by_srun\":2") != std::string::npos);
}

TEST_CASE("flow: where no address answers the agents go by srun's streams, and where one does they do not") {
    for (const bool answers : {true, false}) {
        CAPTURE(answers);
        WiredAttempt it{"exit 0", AgentNetwork::automatic};
        if (!answers)
            std::ofstream{it.dir / "no-address"};
        it.start();
        const auto outcome = it.finish();
        INFO(it.agent_log());
        CHECK(outcome.kind == OutcomeKind::finished);
        CHECK(it.says("is here, by srun's streams") == !answers);
        CHECK(it.says("is here, by TCP") == answers);
    }
}

TEST_CASE("flow: an srun that dies with the agents' streams is started again, and so are the ranks") {
    WiredAttempt it{staying + "[ $TRAINCTL_GENERATION = 2 ] && exit 0; sleep 2022", AgentNetwork::srun};
    it.start();
    REQUIRE(eventually([&] { return it.all_up(); }));
    const auto pids = split(slurp(it.dir / "srun.pids"), ' ');
    REQUIRE(pids.size() == 2);
    const std::vector<pid_t> deaf{it.agent("n1"), it.agent("n2")};
    for (const auto &pid : pids)
        ::kill(std::stoi(pid), SIGKILL);
    const auto outcome = it.finish();
    INFO(it.agent_log());
    CHECK(outcome.kind == OutcomeKind::finished);
    CHECK(outcome.generations == 2);
    CHECK(split_lines(slurp(it.dir / "sruns")).size() == 3); // one for all, then one for each
    // They can't hear that they may go, and Slurm's TERM at the job's end tells them.
    for (const pid_t agent : deaf)
        ::kill(agent, SIGTERM);
    CHECK(eventually([&] {
        const auto all = list_processes();
        return std::none_of(all.begin(), all.end(), [&](const ProcessSeen &seen) {
            return seen.state != 'Z' && std::find(deaf.begin(), deaf.end(), seen.pid) != deaf.end();
        });
    }));
}
