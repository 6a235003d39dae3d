#include "agent/attempt_process.h"

#include "agent/attempt_checkpoints.h"
#include "agent/failure_judge.h"
#include "agent/head.h"
#include "agent/node_checks.h"
#include "base/text.h"
#include "recovery/attempt.h"
#include "recovery/policy.h"
#include "recovery/ruling.h"
#include "run/journal.h"
#include "run/run_files.h"
#include "run/run_rules.h"
#include "slurm/hostlist.h"
#include "slurm/slurm_scheduler.h"
#include "snapshot/archive.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr auto standby_from = 15min; // recovery.standby: auto makes none for jobs shorter than this
constexpr Duration news_come_within = 1min; // NFS clients keep for so long what they know of a folder

[[noreturn]] void leave(int code, const std::string &text = "") {
    if (!text.empty())
        fmt::print(stderr, "trainctl-agent: {}\n", text);
    std::fflush(nullptr);
    ::_exit(code);
}

std::string argument(const std::vector<std::string> &arguments, const std::string &name) {
    const auto at = std::find(arguments.begin(), arguments.end(), name);
    return at != arguments.end() && at + 1 != arguments.end() ? *(at + 1) : "";
}

std::int64_t number(const std::string &text, std::int64_t otherwise = 0) {
    std::int64_t value = otherwise;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

class Process {
public:
    Process(RunPaths paths, AttemptNo no)
        : paths_(std::move(paths)), no_(no), job_{static_cast<std::uint64_t>(number(own_variable("SLURM_JOB_ID")))},
          restarts_(static_cast<int>(number(own_variable("SLURM_RESTART_COUNT")))),
          host_(own_variable("SLURMD_NODENAME")) {}

    int run() {
        auto tools = find_slurm_tools(own_environment());
        if (!tools)
            leave(exit_go_on, tools.error().text());
        tools->user = std::to_string(::getuid()); // asks for our own jobs only: much cheaper for the controller
        note_tools(*tools);
        auto loaded = load_patiently();
        if (!loaded)
            leave(exit_go_on, loaded.error().text());
        run_ = std::move(*loaded);
        // A prolog that fails and a scancel look the same, but only what is cancelled got this far. On a full disk they do look the same.
        (void)files_.write(paths_.attempt_file(no_, began_file(job_, restarts_)), "").ok();
        scheduler_ = std::make_unique<SlurmScheduler>(*tools);
        const auto writer = fmt::format("job{}.{}", to_string(job_), restarts_);
        journal_ = std::make_unique<JournalWriter>(files_, clock_, paths_, writer, no_);
        world_ = std::make_unique<World>(World{files_, *scheduler_, clock_, "job " + to_string(job_) + " on " + host_});
        world_->journal = [this](AttemptNo about, const std::string &event, const std::string &text) { say(about, event, text); };
        describe_attempt();
        // A standby that is still being made is not waited for: the process ends, and its sbatch with it.
        return run_attempt(*world_, attempt_, [this](const TrainHooks &hooks) { return train(hooks); });
    }

private:
    // A file server that is away as the job starts: nobody else would go on with the run. What is not there may be news that
    // has not come yet; if it stays so, the run was removed.
    Result<LoadedRun> load_patiently() {
        const Instant begun = clock_.now();
        for (;;) {
            auto loaded = load_run(files_, paths_);
            if (loaded || loaded.error().kind == ErrorKind::invalid)
                return loaded;
            const Duration patience = loaded.error().kind == ErrorKind::not_found ? news_come_within : ProtocolLimits{}.disk_patience;
            if (clock_.now() - begun >= patience)
                return loaded;
            fmt::print(stderr, "trainctl-agent: {}; trying again\n", loaded.error().text());
            clock_.sleep_for(ProtocolLimits{}.poll);
        }
    }

    void note_tools(const SlurmTools &tools) {
        const auto path = own_variable("PATH", "/usr/bin:/bin");
        tools_ = {find_program("srun", path).value_or(""), tools.sbatch, tools.scontrol, tools.scancel, tools.squeue, tools.sacct,
                  own_variable("SLURM_CONF")};
    }

    void describe_attempt() {
        attempt_.paths = paths_;
        attempt_.me = Claimant{no_, job_, restarts_, host_};
        attempt_.recovery = run_.experiment.recovery;
        attempt_.limits = limits_of(run_.experiment, run_.info);
        attempt_.nodes = own_variable("SLURM_JOB_NODELIST");
        attempt_.standby = wants_standby();
        attempt_.own_uid = ::getuid();
        attempt_.prepare = [this](const MakeRequest &request) { return prepare_submission(files_, run_, request); };
        attempt_.in_background = [](std::function<void()> what) { std::thread{std::move(what)}.detach(); };
        attempt_.journal = [this](const std::string &event, const std::string &text) { say(no_, event, text); };
    }

    // Whoever looks for a cause in the job's output knows our lines by how they begin.
    void say(AttemptNo about, const std::string &event, const std::string &text) {
        for (const auto &line : split_lines(text))
            fmt::print(stderr, "trainctl-agent: {}: {}\n", event, line);
        add(about, event, Json{{"text", text}});
    }

    // A full disk must not end training; the line is in the job's output then.
    void add(AttemptNo about, const std::string &event, Json data) {
        if (auto written = journal_->add(about, event, data); !written)
            fmt::print(stderr, "trainctl-agent: {}: {} {}\n", written.error().text(), event, dump_json(data));
    }

    bool wants_standby() const {
        switch (run_.experiment.recovery.standby) {
        case StandbyPolicy::on: return true;
        case StandbyPolicy::off: return false;
        case StandbyPolicy::automatic: return !run_.experiment.resources.time || *run_.experiment.resources.time >= standby_from;
        }
        INVARIANT(false);
    }

    Outcome cannot_train(const std::string &text) const {
        Outcome outcome;
        outcome.kind = OutcomeKind::setup_failed;
        outcome.text = text;
        return outcome;
    }

    // work/ is made once for the run, from the snapshot, by the first attempt.
    Result<void> make_work() {
        const auto work = paths_.file("work");
        if (run_.info.code_archive.empty()) {
            auto made = files_.make_dir(work);
            return made ? Result<void>{} : Result<void>{made.error()};
        }
        auto unpacked = unpack_archive(run_.info.code_archive, work, run_.info.code_hash);
        return unpacked ? Result<void>{} : Result<void>{unpacked.error()};
    }

    std::optional<std::chrono::seconds> time_left() const {
        const auto end = number(own_variable("SLURM_JOB_END_TIME"));
        const auto now = unix_seconds(clock_.wall());
        if (end > now)
            return std::chrono::seconds{end - now};
        return run_.experiment.resources.time;
    }

    // Beats while a large checkpoint is read, and notes since when the attempt is known to be ours.
    struct Beating {
        const TrainHooks &hooks;
        std::chrono::seconds every;
        Instant checked = hooks.checked;
        bool lost = false;

        void operator()() {
            const Instant now = std::chrono::steady_clock::now();
            if (lost || now - checked < every)
                return;
            ProgressFile progress;
            progress.phase = "choosing a checkpoint";
            auto ours = hooks.beat(progress);
            if (ours && *ours)
                checked = now;
            lost = ours && !*ours;
        }
    };

    Outcome train(const TrainHooks &hooks) {
        if (auto kept = journal_->keep_reserve(); !kept)
            say(no_, "no_reserve", kept.error().text());
        Beating beating{hooks, run_.experiment.recovery.heartbeat};
        if (auto made = make_work(); !made)
            return cannot_train("the code could not be unpacked: " + made.error().text());
        beating();
        if (const auto missing = run_.missing_secrets(); !missing.empty())
            return cannot_train(fmt::format("secrets are not there ({}): trainctl stop {}, then trainctl resume", join(missing, ", "), paths_.run.value));
        auto nodes = usable_nodes();
        auto dir = checkpoint_dir(paths_, run_.experiment);
        if (!nodes || !dir)
            return cannot_train(nodes ? dir.error().text() : nodes.error().text());
        const auto checkpoints = std::make_shared<AttemptCheckpoints>(files_, clock_, *dir, run_.experiment.checkpoint,
                                                                      [this](const std::string &event, Json data) { add(no_, event, std::move(data)); });
        auto newest = checkpoints->newest([&beating] { beating(); });
        if (!newest)
            return cannot_train("the checkpoints can't be listed: " + newest.error().text());
        checkpoints->go_on_from(*newest);
        HeadPlan plan{paths_, no_, job_, run_.experiment, run_.info, run_.secrets, *nodes, tools_, *newest, time_left(), "",
                      showed_steps(), beating.checked, job_memory_mib(own_environment()), earlier_failures(), true};
        Outcome outcome = run_head(plan, head_hooks(hooks, checkpoints));
        // What was saved since the head's last look counts as progress.
        if (const auto last = checkpoints->newest_by_sizes()) {
            outcome.checkpoint = last->path;
            outcome.checkpoint_step = last->step;
        }
        return outcome;
    }

    // Nodes that the run avoids count as lost where Slurm gave them all the same: the job may be older than the suspicion.
    Result<std::vector<std::string>> usable_nodes() {
        auto nodes = expand_hostlist(attempt_.nodes);
        const auto run = look_at_run(files_, paths_);
        if (!nodes || !run)
            return nodes ? Result<std::vector<std::string>>{run.error()} : nodes;
        auto rest = *nodes;
        const auto avoided = avoided_nodes(*run);
        const auto gone = std::erase_if(rest, [&](const auto &node) { return avoided.contains(node); });
        if (gone == 0)
            return nodes;
        const bool enough = static_cast<int>(rest.size()) >= run_.experiment.resources.fewest_nodes();
        say(no_, "nodes_avoided", fmt::format("{} of {} {}", gone, attempt_.nodes, enough ? "count as lost" : "are used all the same: the others are too few"));
        return enough ? Result<std::vector<std::string>>{std::move(rest)} : nodes;
    }

    // What is not known counts as if it had not been.
    std::vector<Failure> earlier_failures() {
        auto run = look_at_run(files_, paths_);
        if (!run)
            return {};
        std::erase_if(run->attempts, [this](const auto &attempt) { return attempt.no >= no_; });
        return failures_without_progress(*run);
    }

    bool showed_steps() {
        const auto run = look_at_run(files_, paths_);
        return run && std::any_of(run->attempts.begin(), run->attempts.end(), [](const auto &attempt) { return attempt.progress && attempt.progress->step; });
    }

    // The run's own, too; what is wrong with them is told and ends nothing.
    FailureBook failure_rules() {
        auto rules = load_run_rules(files_, paths_, run_.experiment.recovery);
        for (const auto &problem : rules.problems)
            say(no_, "failure_rules_left_out", problem);
        return std::move(rules.book);
    }

    // control/drill.json; removed before it is carried out: once at most.
    std::optional<DrillWish> take_drill() {
        const auto path = paths_.wish("drill.json");
        const auto text = files_.read(path);
        if (!text || !*text || !files_.remove(path))
            return std::nullopt;
        auto wish = drill_wish_from(**text, path);
        if (!wish)
            add(no_, "drill_refused", Json{{"text", wish.error().text()}});
        return wish ? std::optional{std::move(*wish)} : std::nullopt;
    }

    HeadHooks head_hooks(const TrainHooks &hooks, const std::shared_ptr<AttemptCheckpoints> &checkpoints) {
        const auto lost = std::make_shared<std::atomic<bool>>(false);
        HeadHooks out;
        out.write_beat = [this, hooks, lost](const ProgressFile &progress) -> Result<void> {
            journal_->generation(progress.generation);
            auto ours = hooks.beat(progress);
            if (!ours)
                return ours.error();
            if (!*ours) {
                *lost = true;
                return Error{ErrorKind::refused, "the attempt was closed or claimed by another", "", ""};
            }
            return {};
        };
        out.superseded = [lost] { return lost->load(); };
        out.wishes = [this, hooks] {
            Wishes wishes;
            wishes.end = hooks.end_wish();
            wishes.checkpoint_now = wishes.end == EndWish::none && hooks.take_save_wish();
            wishes.drill = take_drill();
            return wishes;
        };
        // These are called from one thread.
        const auto judge = std::make_shared<FailureJudge>(files_, FailureJudge::Setting{paths_, no_, run_.experiment.recovery, checkpoints->dir(),
                                                                                        static_cast<std::int64_t>(run_.experiment.health.min_free_mib.value_or(0)), failure_rules()});
        out.choose_checkpoint = [checkpoints, judge](const FailureFacts &facts) -> Result<NextStart> {
            auto newest = checkpoints->newest();
            if (!newest)
                return newest.error();
            NextStart next{*newest, judge->judge(facts, *newest)};
            if (next.failure->roll_back > 0) {
                auto older = checkpoints->back(next.failure->roll_back);
                if (!older)
                    return older.error();
                next.checkpoint = std::move(*older);
            }
            checkpoints->go_on_from(next.checkpoint);
            return next;
        };
        out.newest_checkpoint = [checkpoints, judge] {
            judge->prepare();
            return checkpoints->look();
        };
        out.journal = [this](const std::string &name, Json data) { add(no_, name, std::move(data)); };
        return out;
    }

    const RunPaths paths_;
    const AttemptNo no_;
    const JobId job_;
    const int restarts_;
    const std::string host_;
    PosixFiles files_;
    mutable SystemClock clock_;
    LoadedRun run_;
    ToolPaths tools_;
    std::unique_ptr<SlurmScheduler> scheduler_;
    std::unique_ptr<JournalWriter> journal_;
    std::unique_ptr<World> world_;
    AttemptJob attempt_;
};

} // namespace

void attempt_main(const std::vector<std::string> &arguments) {
    const auto paths = paths_of_dir(argument(arguments, "--run-dir"));
    const auto no = parse_attempt_no(argument(arguments, "--attempt"));
    if (!paths || !no)
        leave(2, "run needs --run-dir <root>/runs/<run> and --attempt NNN");
    if (number(own_variable("SLURM_JOB_ID")) == 0)
        leave(2, "run works inside a Slurm job only");
    Process process{*paths, *no};
    leave(process.run());
}

} // namespace trainctl
