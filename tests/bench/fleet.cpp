// What the head of an attempt costs with thousands of agents: run_head() in a process of its own, and in another one as
// many simulated agents, which connect, prove themselves and beat through the real connection code but have no ranks.
//
// Usage: bench_fleet [--seconds 20] [--beat 5] [512 1024 2048 4096]
// Measured per size: processor time of the head while everybody trains, as a share of one core; its memory; and from one
// rank's failure to the last agent's order to kill, and to the last agent's order to start the next generation.
#include "agent/head.h"
#include "agent/node_connection.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

constexpr int ranks_per_node = 8;
constexpr Duration step_limit = 300s;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
Instant now() { return std::chrono::steady_clock::now(); }

std::string slurp(const std::string &path) {
    std::ifstream in{path};
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
}

[[noreturn]] void fail(const std::string &text) {
    fmt::print(stderr, "bench_fleet: {}\n", text);
    std::exit(1);
}

// ---- The agents: what srun would start on each node, all in one process.

class Agents;

class Agent {
public:
    Agent(Agents &all, Loop &loop, const NodePlan &plan, Duration beat);
    void start() { connection_.start(); }
    void crash(); // its rank 0
    const Report &report() const { return report_; }
    bool gone() const { return gone_; }

private:
    void connected();
    void beat();
    void send();
    void take(const Order &order);

    Agents &all_;
    Loop &loop_;
    Duration every_;
    HeadConnection connection_;
    Report report_;
    std::vector<RankExit> exits_;
    std::string node_;
    int first_rank_ = 0, killed_ = 0;
    Loop::Timer timer_ = 0;
    bool gone_ = false;
};

// Writes one line of its log when all agents have come to a point.
class Agents {
public:
    Agents(std::vector<std::string> nodes, const std::string &attempt_dir, Duration beat) : log_(attempt_dir + "/fleet.log") {
        for (const auto &node : nodes) {
            agents_.push_back(std::make_unique<Agent>(*this, loop_, NodePlan{attempt_dir, {1}, node, ""}, beat));
            agents_.back()->start();
        }
        loop_.on_signal(SIGUSR1, [this] {
            crashed_ = now();
            agents_.front()->crash();
        });
        say(fmt::format("pid {}", ::getpid()));
    }
    int run() {
        loop_.run();
        return 0;
    }
    void was_set_up() { count("setup", set_up_); }
    void was_started() { count("started", started_); }
    void was_killed() { count("killed", killed_); }
    void left() {
        if (++left_ == agents_.size())
            loop_.stop();
    }

private:
    void count(const char *what, std::size_t &counter) {
        if (++counter < agents_.size())
            return;
        counter = 0;
        say(fmt::format("{} {:.3f}", what, crashed_ ? seconds(now() - *crashed_) : 0.0));
    }
    void say(const std::string &line) { log_ << line << std::endl; }

    Loop loop_;
    std::ofstream log_;
    std::vector<std::unique_ptr<Agent>> agents_;
    std::optional<Instant> crashed_;
    std::size_t set_up_ = 0, started_ = 0, killed_ = 0, left_ = 0;
};

Agent::Agent(Agents &all, Loop &loop, const NodePlan &plan, Duration beat)
    : all_(all), loop_(loop), every_(beat),
      connection_(loop, plan, {[this] { connected(); }, [this](const Order &order) { take(order); }, [](const std::string &) {}}), node_(plan.node) {
    report_.agent = random_hex(16);
}

void Agent::connected() {
    report_.address = "127.0.0.1";
    report_.free_port = 20000;
    send();
    // Agents of a real fleet do not beat in step.
    loop_.cancel(timer_);
    timer_ = loop_.after(every_ * (std::rand() % 1000) / 1000, [this] { beat(); });
}

void Agent::beat() {
    timer_ = loop_.after(every_, [this] { beat(); });
    if (report_.generation > report_.dead_generation) {
        report_.step = report_.step.value_or(0) + 5;
        report_.loss = 2.345;
        report_.rate = 1.25;
    }
    send();
}

void Agent::send() {
    ++report_.sequence;
    connection_.send(report_);
}

void Agent::crash() {
    RankExit exit;
    exit.rank = first_rank_;
    exit.node = node_;
    exit.exit_code = 1;
    exit.last_lines = std::vector<std::string>(20, "RuntimeError: CUDA error: an illegal memory access was encountered");
    report_.exits.push_back(exit);
    send();
}

void Agent::take(const Order &order) {
    bool changed = false;
    if (order.setup && report_.setup == SetupState::none) {
        report_.setup = SetupState::ok;
        changed = true;
        all_.was_set_up();
    }
    if (order.kill_generation >= report_.generation && report_.dead_generation < report_.generation) {
        report_.dead_generation = report_.generation;
        for (int i = static_cast<int>(report_.exits.size()); i < ranks_per_node; ++i) {
            RankExit exit;
            exit.rank = first_rank_ + i;
            exit.local_rank = i;
            exit.node = node_;
            exit.signal = SIGKILL;
            exit.last_lines = {"step 1000 loss 2.345 rate 1.25"};
            report_.exits.push_back(exit);
        }
        changed = true;
        all_.was_killed();
    }
    if (order.seen_generation == report_.generation && order.seen_exits >= report_.exits.size() && report_.dead_generation == report_.generation)
        report_.exits.clear(); // all of them arrived
    if (order.start && order.start->generation > report_.generation && order.start->generation > order.kill_generation) {
        report_.generation = order.start->generation;
        report_.exits.clear();
        first_rank_ = order.start->node_rank * ranks_per_node;
        changed = true;
        all_.was_started();
    }
    if (order.bye && !std::exchange(gone_, true))
        return loop_.post([this] {
            loop_.cancel(timer_);
            connection_.stop();
            all_.left();
        });
    if (changed)
        send();
}

std::string value_of(const std::vector<std::string> &arguments, const std::string &name) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (starts_with(arguments[i], name + "="))
            return arguments[i].substr(name.size() + 1);
        if (arguments[i] == name && i + 1 < arguments.size())
            return arguments[i + 1];
    }
    return "";
}

// As the head calls srun.
int run_agents(const std::vector<std::string> &arguments) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char *beat = std::getenv("BENCH_BEAT");
    Agents agents{split(value_of(arguments, "--nodelist"), ','), value_of(arguments, "--run-dir") + "/attempts/001",
                  std::chrono::seconds{beat == nullptr ? 5 : std::atoi(beat)}};
    return agents.run();
}

// ---- The head, and what is measured of it.

struct Figures {
    double up_s = 0, cpu_percent = 0, rss_mib = 0, peak_mib = 0, kill_s = 0, start_s = 0, restart_cpu_s = 0;
};

struct Options {
    int window_s = 20, beat_s = 5;
    std::vector<int> sizes;
};

HeadPlan make_plan(const std::string &folder, const std::string &program, int agents, int beat_s) {
    HeadPlan plan;
    plan.paths = {folder, {"fleet"}};
    plan.attempt = {1};
    plan.job = {77};
    for (int i = 0; i < agents; ++i)
        plan.nodes.push_back(fmt::format("node{:04}", i));
    plan.experiment.resources.nodes = agents;
    plan.experiment.launch.per_node = ranks_per_node;
    plan.experiment.launch.command = {"python", "train.py", "--config", "config.yaml"};
    plan.experiment.environment.env = {{"NCCL_DEBUG", "WARN"}, {"OMP_NUM_THREADS", "8"}, {"WANDB_PROJECT", "fleet"}};
    plan.experiment.recovery.heartbeat = std::chrono::seconds{beat_s};
    plan.experiment.recovery.node_timeout = 60s; // a busy machine is no lost node
    plan.experiment.recovery.lease = 120s;
    plan.agent_program = program;
    plan.tools.srun = program;
    return plan;
}

pid_t start_head(const HeadPlan &plan, const std::string &folder) {
    HeadHooks hooks;
    hooks.write_beat = [folder](const ProgressFile &file) { return PosixFiles{}.write(folder + "/progress.json", dump_json(to_json(file))); };
    hooks.superseded = [] { return false; };
    hooks.wishes = [folder] {
        Wishes wishes;
        wishes.end = PosixFiles{}.read(folder + "/stop")->has_value() ? EndWish::stop : EndWish::none;
        return wishes;
    };
    hooks.newest_checkpoint = []() -> std::optional<CheckpointSeen> { return std::nullopt; };
    hooks.choose_checkpoint = [](const FailureFacts &) -> Result<NextStart> { return NextStart{}; };
    hooks.journal = [folder](const std::string &name, const Json &data) { (void)PosixFiles{}.append(folder + "/journal", name + " " + dump_json(data) + "\n").ok(); };
    const pid_t head = ::fork();
    if (head == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const Outcome outcome = run_head(plan, hooks);
        ::_exit(outcome.kind == OutcomeKind::stopped ? 0 : 3);
    }
    return head;
}

Duration cpu_of(pid_t pid) {
    clockid_t clock = 0;
    timespec time{};
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0)
        fail("the head is gone");
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

double memory_of(pid_t pid, const std::string &field) {
    for (const auto &line : split(slurp(fmt::format("/proc/{}/status", pid)), '\n'))
        if (starts_with(line, field + ":"))
            return std::atof(line.c_str() + field.size() + 1) / 1024;
    return 0;
}

// The value of the `nth` line of the agents' log that begins with `word`.
double wait_line(const std::string &log, const std::string &word, int nth) {
    for (const Instant end = now() + step_limit; now() < end; SystemClock{}.sleep_for(20ms)) {
        int seen = 0;
        for (const auto &line : split(slurp(log), '\n'))
            if (starts_with(line, word + " ") && ++seen == nth)
                return std::atof(line.c_str() + word.size() + 1);
    }
    fail("no line '" + word + "' in " + log);
}

Figures measure(const std::string &program, int agents, const Options &options) {
    std::string folder = (std::filesystem::temp_directory_path() / "bench-fleet-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr)
        fail("no temporary folder");
    const auto plan = make_plan(folder, program, agents, options.beat_s);
    if (!PosixFiles{}.make_dirs(plan.paths.file("work")) || !PosixFiles{}.make_dirs(plan.paths.attempt(plan.attempt)))
        fail("cannot make folders in " + folder);
    const std::string log = plan.paths.attempt_file(plan.attempt, "fleet.log");
    Figures out;
    const Instant began = now();
    const pid_t head = start_head(plan, folder);
    wait_line(log, "started", 1);
    out.up_s = seconds(now() - began);
    SystemClock{}.sleep_for(std::chrono::seconds{options.beat_s}); // the answers to the start have come
    const Duration before = cpu_of(head);
    const Instant since = now();
    SystemClock{}.sleep_for(std::chrono::seconds{options.window_s});
    out.cpu_percent = 100 * seconds(cpu_of(head) - before) / seconds(now() - since);
    out.rss_mib = memory_of(head, "VmRSS");
    const Duration at_crash = cpu_of(head);
    ::kill(static_cast<pid_t>(wait_line(log, "pid", 1)), SIGUSR1);
    out.kill_s = wait_line(log, "killed", 1);
    out.start_s = wait_line(log, "started", 2);
    out.restart_cpu_s = seconds(cpu_of(head) - at_crash);
    out.peak_mib = memory_of(head, "VmHWM");
    std::ofstream{folder + "/stop"}.flush();
    ::kill(head, SIGUSR2);
    int status = 0;
    if (::waitpid(head, &status, 0) != head || status != 0)
        fail(fmt::format("the head did not end as it was asked to (wait status {}): see {}", status, folder));
    std::filesystem::remove_all(folder);
    return out;
}

Options parse(const std::vector<std::string> &arguments) {
    Options out;
    for (std::size_t i = 0; i < arguments.size(); ++i)
        if (starts_with(arguments[i], "--") && i + 1 < arguments.size())
            (arguments[i] == "--beat" ? out.beat_s : out.window_s) = std::atoi(arguments[i + 1].c_str()), ++i;
        else
            out.sizes.push_back(std::atoi(arguments[i].c_str()));
    if (out.sizes.empty())
        out.sizes = {512, 1024, 2048, 4096};
    return out;
}

} // namespace

int main(int argc, char **argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (!value_of(arguments, "--nodelist").empty())
        return run_agents(arguments);
    const Options options = parse(arguments);
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    ::setenv("BENCH_BEAT", std::to_string(options.beat_s).c_str(), 1);
    const auto program = std::filesystem::read_symlink("/proc/self/exe").string();
    double load = 0;
    ::getloadavg(&load, 1);
    fmt::print("one beat in {} s, {} s measured; load of the machine {:.1f} on {} CPUs\n", options.beat_s, options.window_s, load,
               std::thread::hardware_concurrency());
    fmt::print("agents  up       CPU of one core  RSS        peak       last kill  last start  CPU of that\n");
    for (const int agents : options.sizes) {
        const auto figures = measure(program, agents, options);
        fmt::print("{:<6}  {:<5.1f} s  {:<13.2f} %  {:<4.0f} MiB   {:<4.0f} MiB   {:<6.2f} s   {:<6.2f} s    {:.2f} s\n", agents, figures.up_s,
                   figures.cpu_percent, figures.rss_mib, figures.peak_mib, figures.kill_s, figures.start_s, figures.restart_cpu_s);
        std::fflush(stdout);
    }
    return 0;
}
