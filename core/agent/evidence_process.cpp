// The process that looks: what it has said counts, whenever it is ended.
#include "agent/evidence.h"

#include "agent/evidence_facts.h"
#include "agent/spawn.h"
#include "agent/worker.h"
#include "base/files.h"
#include "base/json.h"
#include "base/text.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration cpu_sample = 1s;
constexpr Duration for_the_file = 500ms;            // kept of the limit for writing the file
constexpr std::size_t most_output = 1u << 20;       // of one command
constexpr std::size_t most_ranks_in_full = 64;

Instant now() { return std::chrono::steady_clock::now(); }

// Shared with threads that are left behind when they hang: they own it too.
struct Findings {
    std::mutex mutex;
    std::vector<RankFacts> ranks;
    std::string chips;
    std::string text; // for the file

    void add(const std::string &title, const std::string &what) {
        const std::lock_guard lock{mutex};
        if (text.size() + what.size() < max_evidence_file_bytes)
            text += "== " + title + "\n" + what + (ends_with(what, "\n") ? "" : "\n") + "\n";
    }
};

class Collection {
public:
    explicit Collection(const Json &request)
        : file_(request.at("file").get<std::string>()), mark_(parse_mark(request.at("mark").get<std::string>()).value_or(Mark{})),
          end_(now() + std::chrono::milliseconds{request.at("limit_ms").get<std::int64_t>()} - for_the_file) {
        for (const auto &rank : request.at("ranks"))
            given_.push_back({rank.at("rank").get<int>(), rank.at("pid").get<pid_t>()});
    }

    void run() {
        found_->add("evidence", fmt::format("{}, generation {} on {}", utc_text(std::chrono::system_clock::now()), mark_.generation, mark_.node));
        const auto processes = processes_of_ranks(given_, mark_);
        const Instant sampled = now();
        for (const auto &[rank, pids] : processes)
            found_->ranks.push_back(rank_facts(rank, pids));
        publish();
        start_commands();
        for (std::size_t i = 0; i < std::min(found_->ranks.size(), most_ranks_in_full); ++i)
            describe(i);
        // What follows from the first second, and after that from what the commands say.
        ::poll(nullptr, 0, static_cast<int>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(
                                                std::min(sampled + cpu_sample, end_) - now()).count())));
        measure_cpu(now() - sampled);
        publish();
        for (const auto &command : commands_)
            if (now() >= end_ || !command->drain(end_ - now()))
                found_->add("cut off", "a command did not end in time");
        publish();
        writer_.drain(for_the_file);
    }

private:
    // Its main process in full, the others in short.
    void describe(std::size_t index) {
        const RankFacts rank = [&] {
            const std::lock_guard lock{found_->mutex};
            return found_->ranks[index];
        }();
        if (rank.main.pid == 0)
            return;
        std::string text = full_text(rank.main.pid);
        const auto sockets = sockets_of(rank.main.pid);
        text += "  " + (sockets.empty() ? std::string{"no tcp sockets"} : sockets) + "\n";
        for (const auto &other : rank.all)
            if (other.pid != rank.main.pid)
                text += fmt::format("process {} {}: {} {}, {} threads\n", other.pid, other.name, other.state, other.waits_in, other.threads);
        found_->add(fmt::format("rank {}", rank.rank), text);
        const std::lock_guard lock{found_->mutex};
        found_->ranks[index].sockets = sockets;
    }

    void measure_cpu(Duration passed) {
        const double ticks = std::chrono::duration<double>(passed).count() * static_cast<double>(::sysconf(_SC_CLK_TCK));
        std::string text;
        const std::lock_guard lock{found_->mutex};
        for (auto &rank : found_->ranks) {
            double used = 0;
            for (const auto &process : rank.all) {
                const auto later = process_facts(process.pid);
                if (later.cpu_ticks > process.cpu_ticks)
                    used += static_cast<double>(later.cpu_ticks - process.cpu_ticks);
            }
            rank.cpu_share = ticks > 0 ? std::round(used / ticks * 10) / 10 : -1;
            text += fmt::format("rank {}: {:.2f} CPUs\n", rank.rank, ticks > 0 ? used / ticks : 0);
        }
        found_->text += "== CPU time in the last second\n" + text + "\n";
    }

    void start_commands() {
        const std::string path = own_variable("PATH", "/usr/bin:/bin");
        if (find_program("nvidia-smi", path))
            start({"nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,temperature.gpu,clocks.sm", "--format=csv,noheader"},
                  [found = found_](const std::string &out) {
                      std::vector<std::string> uses;
                      for (const auto &line : split_lines(out))
                          if (const auto cells = split(line, ','); cells.size() > 1)
                              uses.push_back(std::string{trim(cells[1])});
                      found->chips = "in use " + valid_utf8(join(uses, ", "));
                  });
        if (!find_program("py-spy", path))
            return found_->add("py-spy", "not found in PATH: no Python stacks");
        for (std::size_t i = 0; i < std::min(found_->ranks.size(), most_ranks_in_full); ++i)
            if (const pid_t pid = found_->ranks[i].main.pid; pid != 0)
                start({"py-spy", "dump", "--pid", std::to_string(pid)},
                      [found = found_, i](const std::string &out) { found->ranks[i].frames = innermost_frames(out); });
    }

    // Each in a thread of its own: one whose command can't be killed is left behind.
    void start(const std::vector<std::string> &argv, std::function<void(const std::string &)> take) {
        Command command;
        command.argv = argv;
        command.deadline = end_ - now();
        command.max_output_bytes = most_output;
        commands_.push_back(std::make_unique<Worker>());
        commands_.back()->add([found = found_, command, take = std::move(take)] {
            const auto result = run_command(command);
            const std::string title = shell_join(command.argv);
            if (!result)
                return found->add(title, result.error().text());
            found->add(title, valid_utf8(result->out + result->err));
            const std::lock_guard lock{found->mutex};
            if (result->ok())
                take(result->out);
        });
    }

    // All that is known so far: the summary first, as no file system is between it and the agent.
    void publish() {
        std::string summary, text;
        {
            const std::lock_guard lock{found_->mutex};
            summary = evidence_summary(found_->ranks, found_->chips);
            text = "== summary\n" + summary + "\n\n" + found_->text;
        }
        summary += '\0';
        [[maybe_unused]] const auto n = ::write(1, summary.data(), summary.size());
        if (!file_.empty())
            writer_.add([file = file_, text = std::move(text)] {
                PosixFiles files;
                if (files.make_dirs(parent_path(file)))
                    static_cast<void>(files.write(file, text).ok());
            });
    }

    std::string file_;
    Mark mark_;
    std::vector<RankPid> given_;
    Instant end_;
    std::shared_ptr<Findings> found_ = std::make_shared<Findings>();
    std::vector<std::unique_ptr<Worker>> commands_;
    Worker writer_;
};

} // namespace

int run_evidence() {
    ::prctl(PR_SET_NAME, "trainctl-eviden");
    const auto request = parse_json(read_all(0), "evidence");
    if (!request || !request->is_object())
        return 2;
    try {
        // The way out of whatever hangs in the kernel but can be killed.
        ::alarm(static_cast<unsigned>(request->at("limit_ms").get<std::int64_t>() / 1000 + 2));
        Collection{*request}.run();
    } catch (const Json::exception &) {
        return 2;
    }
    ::_exit(0); // not waiting for threads that hang
}

} // namespace trainctl
