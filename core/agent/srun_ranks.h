// Ranks that srun starts (launch kind srun), on the node's side. MPI needs its ranks to be tasks of Slurm: the step gives
// them PMI. All else is as for ranks that the agent starts itself, because srun starts no rank but a guard for one:
//
//   head         picks a token for the generation, puts it into the StartSpec's environment and into srun's, and runs
//                `srun --distribution=arbitrary ... trainctl-agent task` over the members (srun_steps.h);
//   node agent   listens at an abstract socket named by token and node, with pipes for its ranks' output (SrunRanks);
//   task         connects (rank_task.h), says its local rank and its rank, gets the rank's GuardSpec and the pipes' write
//                ends by SCM_RIGHTS, adds what its step set (SLURM_*, PMI*), and goes on as the rank's guard, with the
//                connection as its control socket;
//   SrunRanks    shows these guards to NodeGeneration as the one Guard that it knows: kill, lease and signals go to all of
//                them, exits come back under their local ranks, "dead" when all of them are.
//
// So output, exits with their time, the lease, the mark, killing the whole tree and the agent's death work as ever, and no
// kill waits for srun. The environment, with its secrets, travels in a file in memory; both ends check that the other
// one is of the same user. A guard that ends without "dead" (Slurm's SIGKILL, an MPI_Abort) closes the control socket:
// NodeGeneration then kills by the mark. A task that comes after the kill is sent away.
#pragma once

#include "agent/guard.h"
#include "agent/loop.h"
#include "base/fd.h"

#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace trainctl {

inline constexpr const char *task_token_variable = "TRAINCTL_TASK_TOKEN";
// sun_path of the abstract socket, beginning with its NUL.
std::string task_socket_name(const std::string &token, const std::string &node);
// Who is connected there, where that is our user; 0: a process that can't be named here.
std::optional<pid_t> peer_of_same_user(int socket);

class SrunRanks {
public:
    struct Setting {
        std::string token, node;
        std::function<void(const std::string &)> log;
        std::function<void(pid_t)> on_task = [](pid_t) {}; // one came, and has not got its rank yet
        Duration arrival_limit = std::chrono::minutes{2}; // for srun to start a task here: a busy controller, task prologs
    };

    SrunRanks(Loop &loop, Setting setting);
    ~SrunRanks(); // the guards kill what is theirs

    // As start_guard(): its pid is 0, as there is no single one. Once.
    Result<Guard> start(GuardSpec spec);

private:
    struct Rank {
        Fd out, err;      // write ends, until its task has them
        Fd task;          // the connection; none: not here yet, or gone
        bool came = false, dead = false;
    };

    void accept_all();
    void hear_guest(int fd);
    bool admit(Fd &guest, const std::string &hello);
    Result<void> hand_over(int task, std::size_t local);
    void hear_task(std::size_t local);
    void hear_agent();
    void tell_all(const std::string &text);
    void fail(std::size_t local, const std::string &why);
    void look_for_missing();
    void look_whether_dead();
    void lose(std::size_t local);
    void close_all();

    Loop &loop_;
    Setting setting_;
    GuardSpec spec_;
    Fd listener_, control_;
    std::vector<Rank> ranks_;
    std::vector<Fd> guests_; // who has not said hello
    Loop::Timer timer_ = 0;
    bool killing_ = false;
};

} // namespace trainctl
