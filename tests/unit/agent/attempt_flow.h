// A head and two node agents as real processes on loopback; a shell script stands for srun.
#pragma once

#include "agent/head.h"
#include "agent/processes.h"
#include "base/files.h"
#include "base/text.h"
#include "eventually.h"
#include "support/temp_dir.h"

#include <csignal>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

using namespace std::chrono_literals;

inline constexpr const char *fake_srun = R"(#!/bin/bash
for word; do case $word in
  --nodelist=*) nodes=${word#*=} ;;
  --*) ;;
  *) break ;;
esac; shift; done
i=0
for node in ${nodes//,/ }; do
  (
    [ -e "$STATE/cgroup.$node" ] && echo $BASHPID > "$(cat "$STATE/cgroup.$node")/cgroup.procs"
    SLURM_NODEID=$i SLURM_PROCID=$i SLURMD_NODENAME=$node exec "$@"
  ) &
  echo $! > "$STATE/agent.$node.new" && mv "$STATE/agent.$node.new" "$STATE/agent.$node"
  i=$((i+1))
done
for job in $(jobs -p); do wait $job; done
exit 0
)";

inline std::string slurp(const std::string &path) {
    std::ifstream in{path};
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
}

// One attempt: its head in a forked process.
struct Attempt {
    explicit Attempt(const std::string &script) {
        static int count = 0;
        plan.paths = {dir.path(), {"flow-" + std::to_string(::getpid()) + "-" + std::to_string(++count)}};
        plan.attempt = {1};
        plan.job = {77};
        plan.experiment.resources.nodes = 2;
        plan.experiment.launch.per_node = 2;
        plan.experiment.launch.command = {"bash", "-c", script, "rank", "{run}"};
        plan.experiment.recovery.lease = 10s;
        plan.experiment.recovery.heartbeat = 1s;
        plan.experiment.recovery.node_timeout = 3s;
        plan.experiment.recovery.in_place = InPlace::off;
        plan.experiment.checkpoint.save_time = 20s;
        plan.experiment.progress.patterns = {R"(step (?P<step>\d+) loss (?P<loss>[0-9.]+))"};
        plan.nodes = {"n1", "n2"};
        plan.agent_program = std::string{TRAINCTL_BUILD_DIR} + "/trainctl-agent";
        plan.tools.srun = dir / "srun";
        std::ofstream{dir / "srun"} << fake_srun;
        ::chmod((dir / "srun").c_str(), 0700);
        REQUIRE(PosixFiles{}.make_dirs(plan.paths.file("work")));
        REQUIRE(PosixFiles{}.make_dirs(plan.paths.attempt(plan.attempt)));
    }
    ~Attempt() {
        if (head > 0) {
            ::kill(head, SIGKILL);
            ::waitpid(head, nullptr, 0);
        }
        CHECK(eventually([&] { return marked().empty(); }));
    }
    Attempt(const Attempt &) = delete;
    Attempt &operator=(const Attempt &) = delete;

    void start() {
        const std::string folder = dir.path();
        HeadHooks hooks;
        hooks.write_beat = [folder](const ProgressFile &file) -> Result<void> {
            if (PosixFiles{}.read(folder + "/no-beats")->has_value())
                return Error{ErrorKind::io, "the disk is gone", "", ""};
            return PosixFiles{}.write(folder + "/progress.json", dump_json(to_json(file)));
        };
        hooks.superseded = [folder] { return PosixFiles{}.read(folder + "/superseded")->has_value(); };
        hooks.wishes = [folder] {
            Wishes wishes;
            wishes.end = PosixFiles{}.read(folder + "/stop")->has_value() ? EndWish::stop : EndWish::none;
            wishes.checkpoint_now = PosixFiles{}.read(folder + "/save")->has_value() && PosixFiles{}.remove(folder + "/save").ok();
            return wishes;
        };
        const auto newest = [folder]() -> std::optional<CheckpointSeen> {
            const auto text = PosixFiles{}.read(folder + "/checkpoint");
            if (!text || !*text)
                return std::nullopt;
            CheckpointSeen seen;
            seen.path = "ckpt";
            seen.step = std::stoll(**text);
            return seen;
        };
        hooks.newest_checkpoint = newest;
        hooks.choose_checkpoint = [newest, judge = judge](const FailureFacts &facts) -> Result<NextStart> {
            return NextStart{newest(), judge ? std::optional{judge(facts)} : std::nullopt};
        };
        hooks.journal = [folder](const std::string &name, const Json &data) {
            const auto kept = PosixFiles{}.append(folder + "/journal", name + " " + dump_json(data) + "\n");
            CHECK(kept.ok());
        };
        head = ::fork();
        REQUIRE(head >= 0);
        if (head == 0) {
            ::setenv("STATE", folder.c_str(), 1);
            ::setenv("SLURM_PROCID", "5", 1);
            ::setenv("PATH", (path + ":" + ::getenv("PATH")).c_str(), path.empty() ? 0 : 1);
            const Outcome outcome = run_head(plan, hooks);
            std::ofstream{folder + "/outcome.new"} << dump_json(to_json(outcome));
            ::rename((folder + "/outcome.new").c_str(), (folder + "/outcome").c_str());
            ::_exit(0);
        }
    }
    Outcome finish() {
        const bool ended = eventually([&] {
            if (head > 0 && ::waitpid(head, nullptr, WNOHANG) == head)
                head = -1;
            return head < 0;
        }, 60s);
        INFO(slurp(plan.paths.attempt_file(plan.attempt, "logs/agent.log")));
        REQUIRE(ended);
        const auto outcome = from_json_text<Outcome>(slurp(dir / "outcome"), "outcome");
        REQUIRE(outcome);
        CHECK(marked().empty());
        return *outcome;
    }
    std::vector<pid_t> marked() const {
        return marked_processes([this](const Mark &mark) { return mark.run == plan.paths.run.value; });
    }
    std::string work(const std::string &name) const { return slurp(join_path(plan.paths.file("work"), name)); }
    bool all_up() const {
        for (const char *rank : {"0", "1", "2", "3"})
            if (work(std::string{"up."} + rank).empty())
                return false;
        return true;
    }
    pid_t agent(const std::string &node) const { return std::stoi(slurp(dir / ("agent." + node))); }
    std::string log(const std::string &node, const std::string &generation = "g01") const {
        return slurp(plan.paths.attempt_file(plan.attempt, "logs/" + generation + "/" + node + ".log"));
    }

    TempDir dir;
    HeadPlan plan;
    std::function<Failure(const FailureFacts &)> judge; // in the head's process; none: nobody judges
    std::string path; // before PATH
    pid_t head = 0;
};

// Ranks that stay, with children that try to.
inline const std::string staying = "setsid sleep 2001 & (setsid sleep 2002 &); echo x > up.$RANK; ";

} // namespace trainctl
