#include "agent/guard.h"

#include "agent/lease.h"
#include "agent/processes.h"
#include "agent/spawn.h"
#include "base/json.h"
#include "base/text.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr int control_fd = guard_control_fd, spec_fd = guard_spec_fd, first_output_fd = guard_first_output_fd;
constexpr Duration doubt_after = 5s;         // in D state, or a debugger's
constexpr Duration look_first = 5ms;         // for the ranks' process groups to die, which most often is all there is
constexpr Duration look_again_for_rest = 20ms; // forks that raced with the kill
constexpr auto look_again = 1s;              // for the lease

Instant now() { return std::chrono::steady_clock::now(); }

class GuardProcess {
public:
    GuardProcess() : jumps_(now()) {}

    int run() {
        if (!prepare())
            return 1;
        while (!all_dead_) {
            wait();
            hear_agent();
            look_at_time();
            reap();
        }
        say("dead");
        return 0;
    }

private:
    bool prepare() {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        ::prctl(PR_SET_NAME, "trainctl-guard");
        // Slurm signals every process of a job: the guard outlives all that can be outlived.
        sigset_t all;
        sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        sigset_t children;
        sigemptyset(&children);
        sigaddset(&children, SIGCHLD);
        signals_ = Fd{::signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC)};
        const std::string packed = read_all(spec_fd);
        ::close(spec_fd);
        const Json spec = Json::from_cbor(packed, true, false);
        if (spec.is_discarded() || !signals_)
            return false;
        lease_.renew(Instant{Duration{spec.at("lease_end").get<Duration::rep>()}}, Duration::zero());
        start_ranks(spec);
        return true;
    }

    void start_ranks(const Json &spec) {
        const auto common = spec.at("environment").get<Environment>();
        int fd = first_output_fd;
        for (const auto &rank : spec.at("ranks")) {
            SpawnSpec child{spec.at("command").get<std::vector<std::string>>(), common,
                            spec.at("directory").get<std::string>(), {{fd, 1}, {fd + 1, 2}}};
            for (const auto &[name, value] : rank.at("environment").get<Environment>())
                child.environment[name] = value;
            child.cpus = rank.at("cpus").get<std::vector<int>>();
            const auto kept = rank.at("fds").get<std::vector<int>>();
            for (const int keep : kept)
                child.fds.emplace_back(keep, keep);
            child.new_session = true;
            child.die_with_parent = true;
            const auto started = spawn(child);
            ranks_.push_back(started ? *started : -1);
            if (!started)
                say(fmt::format("exit {} 127 0 {} 0", ranks_.size() - 1, now().time_since_epoch().count()));
            ::close(fd++);
            ::close(fd++);
            for (const int keep : kept)
                ::close(keep); // its other end must see the rank's own end
        }
    }

    void wait() {
        const Duration left = killing_since_ ? look_for_rest_at_ - now() : std::min<Duration>(look_again, lease_.left(now()));
        const auto time = std::chrono::ceil<std::chrono::milliseconds>(std::max(left, Duration::zero()));
        pollfd polls[2] = {{signals_.get(), POLLIN, 0}, {agent_here_ ? control_fd : -1, POLLIN, 0}};
        ::poll(polls, 2, static_cast<int>(time.count()));
    }

    void look_at_time() {
        if (const Duration jump = jumps_.look(now()); jump > Duration::zero())
            lease_.shift(jump);
        if (lease_.lost(now()))
            kill_all();
        if (!killing_since_)
            return;
        if (now() >= look_for_rest_at_)
            kill_rest();
        if (!doubt_said_ && now() - *killing_since_ > doubt_after) {
            doubt_said_ = true;
            say("doubtful");
        }
    }

    void hear_agent() {
        char buffer[256];
        while (agent_here_) {
            const auto n = ::recv(control_fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
            if (n <= 0) {
                agent_here_ = false;
                kill_all();
                return;
            }
            const auto words = split(std::string_view{buffer, static_cast<std::size_t>(n)}, ' ');
            if (words[0] == "kill")
                kill_all();
            else if (words[0] == "lease" && words.size() == 2)
                lease_.renew(Instant{Duration{std::stoll(words[1])}}, Duration::zero());
            else if (words[0] == "signal" && words.size() == 2)
                signal_ranks(std::stoi(words[1]));
        }
    }

    void signal_ranks(int signal) {
        const auto all = list_processes();
        for (const pid_t rank : ranks_)
            if (rank > 0)
                for (const pid_t pid : takers_of(rank, signal, all))
                    ::kill(pid, signal);
    }

    void reap() {
        signalfd_siginfo drop;
        while (::read(signals_.get(), &drop, sizeof drop) > 0) {
        }
        for (;;) {
            int status = 0;
            const pid_t pid = ::waitpid(-1, &status, WNOHANG);
            if (pid == 0)
                return;
            if (pid < 0) {
                // No children, and orphans of theirs become ours: the tree is dead. New ones come of nobody.
                all_dead_ = killing_since_.has_value() && errno == ECHILD;
                return;
            }
            const auto rank = std::find(ranks_.begin(), ranks_.end(), pid);
            if (rank == ranks_.end())
                continue;
            *rank = -1;
            const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
            say(fmt::format("exit {} {} {} {} {}", rank - ranks_.begin(), WIFEXITED(status) ? WEXITSTATUS(status) : 0, signal,
                            now().time_since_epoch().count(), killing_since_ && signal == SIGKILL ? 1 : 0));
        }
    }

    // The ranks and their process groups at once. A look at all processes of a node takes longer than they need to die.
    void kill_all() {
        if (killing_since_)
            return;
        killing_since_ = now();
        look_for_rest_at_ = now() + look_first;
        for (const pid_t pid : ranks_)
            if (pid > 0) {
                ::kill(-pid, SIGKILL);
                ::kill(pid, SIGKILL); // where it is no leader yet
            }
    }

    // Descendants in sessions of their own, and those that became ours.
    void kill_rest() {
        for (const pid_t pid : descendants_of(::getpid(), list_processes()))
            ::kill(pid, SIGKILL);
        look_for_rest_at_ = now() + look_again_for_rest;
    }

    void say(const std::string &text) const {
        [[maybe_unused]] const auto n = ::send(control_fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }

    Fd signals_;
    Lease lease_;
    JumpWatch jumps_;
    Instant look_for_rest_at_;
    std::vector<pid_t> ranks_; // -1: ended
    std::optional<Instant> killing_since_;
    bool agent_here_ = true, all_dead_ = false, doubt_said_ = false;
};

} // namespace

int run_guard() { return GuardProcess{}.run(); }

} // namespace trainctl
