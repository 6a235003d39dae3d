#include "agent/node_generation.h"

#include "agent/node_checks.h"
#include "agent/spawn.h"
#include "base/signals.h"
#include "base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t read_bytes = 1u << 16;
constexpr std::size_t most_reads_at_exit = 64; // of 64 KiB: the pipe holds 1 MiB, and a grandchild may go on writing
constexpr Duration progress_poll = 300ms;
constexpr Duration leftovers_again = 50ms, doubt_after = 5s;

Instant now() { return std::chrono::steady_clock::now(); }

std::string stamp() {
    const auto wall = std::chrono::system_clock::now();
    return utc_text(wall);
}

} // namespace

struct NodeGeneration::Stream {
    Fd fd;
    LineSplitter splitter;
};

struct NodeGeneration::RankState {
    LastLines last;
    bool ended = false;
};

NodeGeneration::NodeGeneration(Loop &loop, LogWriter &logs, Setting setting, StartSpec spec)
    : loop_(loop), logs_(logs), setting_(std::move(setting)), spec_(std::move(spec)), scan_(setting_.config.patterns),
      started_(now()) {
    log_path_ = fmt::format("{}/g{:02}/{}.log", setting_.config.logs_dir, spec_.generation, setting_.node);
}

NodeGeneration::~NodeGeneration() {
    loop_.cancel(timer_);
    loop_.cancel(progress_timer_);
    if (!progress_folder_.empty())
        remove_progress_folder(progress_folder_);
    close_streams();
    if (guard_.control >= 0) {
        loop_.forget(guard_.control);
        ::close(guard_.control);
    }
}

GuardSpec NodeGeneration::guard_spec() const {
    GuardSpec out;
    out.command = spec_.command;
    out.directory = setting_.config.work_dir;
    out.environment = setting_.base;
    for (const auto &[name, value] : spec_.environment)
        out.environment[name] = value;
    const auto set = [&](const char *name, const auto &value) { out.environment[name] = fmt::format("{}", value); };
    set("WORLD_SIZE", spec_.nodes * spec_.ranks_per_node);
    set("LOCAL_WORLD_SIZE", spec_.ranks_per_node);
    set("NODE_RANK", spec_.node_rank);
    set("GROUP_RANK", spec_.node_rank);
    set("MASTER_ADDR", spec_.master_addr);
    set("MASTER_PORT", spec_.master_port);
    set("TRAINCTL_GENERATION", spec_.generation);
    set("TRAINCTL_NODE", setting_.node);
    set(mark_variable, to_string(Mark{setting_.config.run, setting_.config.attempt, spec_.generation, setting_.node}));
    const auto cpus = share_cpus(bindable_cpus(), spec_.ranks_per_node);
    for (int local = 0; local < spec_.ranks_per_node; ++local) {
        GuardedRank rank;
        rank.environment["RANK"] = std::to_string(spec_.node_rank * spec_.ranks_per_node + local);
        rank.environment["LOCAL_RANK"] = std::to_string(local);
        if (!progress_folder_.empty())
            rank.environment[progress_variable] = progress_path(progress_folder_, local);
        if (!cpus.empty())
            rank.cpus = cpus[static_cast<std::size_t>(local)];
        out.ranks.push_back(std::move(rank));
    }
    out.lease_end = setting_.lease_end;
    return out;
}

// Where the head has srun start the ranks, its token is in the environment.
Result<Guard> NodeGeneration::launch_guard() {
    const auto token = spec_.environment.find(task_token_variable);
    if (token == spec_.environment.end()) {
        oom_.add(::getpid()); // they stay where we are
        return start_guard(setting_.program, guard_spec());
    }
    tasks_ = std::make_unique<SrunRanks>(loop_, SrunRanks::Setting{token->second, setting_.node, setting_.log, [this](pid_t task) { oom_.add(task); }});
    return tasks_->start(guard_spec());
}

Result<void> NodeGeneration::start() {
    // Without it the training's own lines are all that there is.
    if (auto folder = make_progress_folder(fmt::format("{}-{}-{}-{}", setting_.config.run, setting_.config.attempt, spec_.generation, setting_.node), setting_.base)) {
        progress_folder_ = *folder;
        for (int local = 0; local < spec_.ranks_per_node; ++local)
            progress_files_.emplace_back(progress_path(progress_folder_, local));
        read_progress_files();
    } else {
        setting_.log("no folder for progress files: " + folder.error().text());
    }
    auto guard = launch_guard();
    if (!guard)
        return guard.error();
    guard_ = std::move(*guard);
    started_ = now();
    for (std::size_t i = 0; i < guard_.outputs.size(); ++i) {
        streams_.push_back(std::make_unique<Stream>());
        streams_.back()->fd = Fd{guard_.outputs[i]};
        loop_.when_readable(guard_.outputs[i], [this, i] { read_output(i); });
        if (i % 2 == 0)
            ranks_.push_back(std::make_unique<RankState>());
    }
    loop_.when_readable(guard_.control, [this] { read_news(); });
    return {};
}

void NodeGeneration::kill() { tell_kill(guard_); }
void NodeGeneration::renew(Instant lease_end) { tell_lease(guard_, lease_end); }

void NodeGeneration::send_signal(const std::string &name) {
    const int number = signal_number(name);
    setting_.log(fmt::format("sending {} to the ranks of generation {}", name, spec_.generation));
    if (number > 0)
        tell_signal(guard_, number);
}

void NodeGeneration::read_output(std::size_t stream) {
    auto &from = *streams_[stream];
    if (!from.fd)
        return;
    std::array<char, read_bytes> buffer;
    const auto n = ::read(from.fd.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const auto lines = n > 0 ? from.splitter.add({buffer.data(), static_cast<std::size_t>(n)}) : from.splitter.end();
    for (const auto &line : lines)
        take_line(stream / 2, line);
    if (n <= 0) {
        loop_.forget(from.fd.get());
        from.fd.close();
    }
}

void NodeGeneration::take_line(std::size_t rank, const std::string &line) {
    const int global = spec_.node_rank * spec_.ranks_per_node + static_cast<int>(rank);
    logs_.write(log_path_, fmt::format("{} [r{}] {}", stamp(), global, line));
    ranks_[rank]->last.add(line);
    if (rank != 0 && first_rank_prints_)
        return;
    if (const auto found = scan_.scan(line); found.any())
        take_progress(rank, found);
}

void NodeGeneration::read_progress_files() {
    for (std::size_t rank = 0; rank < progress_files_.size(); ++rank) {
        const auto line = progress_files_[rank].poll();
        if (!line || (rank != 0 && first_rank_prints_))
            continue;
        activity_ = line->activity;
        take_progress(rank, {line->step, line->loss, line->rate});
    }
    if (!dead_)
        progress_timer_ = loop_.after(progress_poll, [this] { read_progress_files(); });
}

void NodeGeneration::take_progress(std::size_t rank, const ProgressFound &found) {
    first_rank_prints_ = first_rank_prints_ || rank == 0;
    if (found.step)
        progress_.step = found.step;
    if (found.loss)
        progress_.loss = found.loss;
    if (found.rate)
        progress_.rate = found.rate;
    setting_.on_change();
}

void NodeGeneration::take_exit(const GuardedExit &exit) {
    const auto rank = static_cast<std::size_t>(exit.local_rank);
    if (rank >= ranks_.size() || ranks_[rank]->ended)
        return;
    ranks_[rank]->ended = true;
    // Its last words are in the pipes; what it left running may hold them open.
    for (const auto stream : {2 * rank, 2 * rank + 1})
        for (std::size_t i = 0; i < most_reads_at_exit && streams_[stream]->fd; ++i)
            read_output(stream);
    for (const auto stream : {2 * rank, 2 * rank + 1})
        for (const auto &line : streams_[stream]->splitter.end())
            take_line(rank, line);
    RankExit out;
    out.local_rank = exit.local_rank;
    out.rank = spec_.node_rank * spec_.ranks_per_node + exit.local_rank;
    out.node = setting_.node;
    out.exit_code = exit.exit_code;
    out.signal = exit.signal;
    out.killed = exit.killed;
    out.at_s = std::chrono::duration<double>(exit.when - started_).count();
    out.last_lines = ranks_[rank]->last.lines();
    setting_.log(fmt::format("rank {} ended: code {}, signal {}, {:.1f} s after the start of generation {}", out.rank,
                             out.exit_code, out.signal, out.at_s, spec_.generation));
    exits_.push_back(std::move(out));
    look();
}

void NodeGeneration::look() { oom_.read(std::chrono::duration<double>(now() - started_).count()); }

Sight NodeGeneration::sight() const {
    Sight out;
    if (exits_.empty() && !dead_)
        return out;
    out.generation = spec_.generation;
    out.oom_kills = oom_.kills();
    if (out.oom_kills.value_or(0) == 0)
        return out;
    // Where others live in the same cgroup, it may have been one of theirs.
    const auto by_sigkill = [](const RankExit &exit) { return !exit.killed && (exit.signal == SIGKILL || exit.exit_code == 128 + SIGKILL); };
    if (!oom_.of_one_job() && std::none_of(exits_.begin(), exits_.end(), by_sigkill)) {
        out.oom_kills.reset();
        return out;
    }
    out.observations.push_back({"oom-kill", setting_.node, fmt::format("the kernel killed {} for want of memory (oom_kill in {})",
                                                                      *out.oom_kills == 1 ? "a process" : fmt::format("{} processes", *out.oom_kills), oom_.where()),
                                {}, oom_.last_at()});
    return out;
}

void NodeGeneration::read_news() {
    const auto news = hear_guard(guard_);
    for (const auto &exit : news.exits)
        take_exit(exit);
    doubtful_ = doubtful_ || news.doubtful;
    dead_ = dead_ || news.all_dead;
    if (news.gone) {
        loop_.forget(guard_.control);
        if (!dead_)
            return guard_gone();
    }
    if (dead_) {
        look();
        for (std::size_t i = 0; i < streams_.size(); ++i)
            for (std::size_t n = 0; n < most_reads_at_exit && streams_[i]->fd; ++n)
                read_output(i);
        close_streams();
    }
    if (news.gone || !news.exits.empty() || news.doubtful || news.all_dead)
        setting_.on_change();
}

void NodeGeneration::guard_gone() {
    setting_.log("the guard of the ranks is gone: killing what it left");
    gone_since_ = now();
    kill_leftovers();
}

// As the child subreaper above the guard we are the parent of what it left; the mark finds what is not even that.
void NodeGeneration::kill_leftovers() {
    const auto ours = [this](const Mark &mark) {
        return mark.run == setting_.config.run && mark.attempt == setting_.config.attempt &&
               mark.generation == spec_.generation && mark.node == setting_.node;
    };
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    std::vector<pid_t> left = marked_processes(ours);
    const auto of_setup = marked_processes([&](const Mark &mark) { return mark.generation == 0; });
    for (const pid_t pid : descendants_of(::getpid(), list_processes()))
        if (std::find(of_setup.begin(), of_setup.end(), pid) == of_setup.end())
            left.push_back(pid);
    for (const pid_t pid : left)
        ::kill(pid, SIGKILL);
    if (!left.empty()) {
        doubtful_ = doubtful_ || now() - gone_since_ > doubt_after;
        timer_ = loop_.after(leftovers_again, [this] { kill_leftovers(); });
        if (doubtful_)
            setting_.on_change();
        return;
    }
    for (int local = 0; local < spec_.ranks_per_node; ++local)
        take_exit({local, 0, SIGKILL, now()});
    dead_ = true;
    close_streams();
    setting_.on_change();
}

void NodeGeneration::close_streams() {
    for (auto &stream : streams_) {
        if (!stream->fd)
            continue;
        loop_.forget(stream->fd.get());
        stream->fd.close();
    }
}

Environment without_launcher_variables(Environment environment) {
    constexpr std::array<std::string_view, 8> prefixes{"SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "PMI", "OMPI_", "MPI_LOCALRANKID", "HYDI_"};
    for (auto at = environment.begin(); at != environment.end();) {
        const bool drop = std::any_of(prefixes.begin(), prefixes.end(), [&](auto prefix) { return starts_with(at->first, prefix); });
        at = drop ? environment.erase(at) : std::next(at);
    }
    return environment;
}

std::vector<std::vector<int>> share_cpus(const std::vector<int> &cpus, int ranks) {
    std::vector<std::vector<int>> out;
    if (ranks < 1 || cpus.size() < static_cast<std::size_t>(ranks))
        return out;
    const auto count = static_cast<std::size_t>(ranks);
    for (std::size_t rank = 0; rank < count; ++rank)
        out.emplace_back(cpus.begin() + static_cast<std::ptrdiff_t>(rank * cpus.size() / count),
                         cpus.begin() + static_cast<std::ptrdiff_t>((rank + 1) * cpus.size() / count));
    return out;
}

} // namespace trainctl
