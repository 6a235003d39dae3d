#include "agent/node.h"

#include "agent/chip_look.h"
#include "agent/drill.h"
#include "agent/evidence.h"
#include "agent/head_watch.h"
#include "agent/lease.h"
#include "agent/node_connection.h"
#include "agent/node_generation.h"
#include "agent/node_preparation.h"
#include "agent/spawn.h"
#include "agent/worker.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"

#include <csignal>
#include <deque>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration find_head_limit = 5min;        // srun starts us after the head listens; NFS may hide head.json for 60 s
constexpr Duration progress_pause = 500ms;        // at most two reports a second for progress, by rank 0's node
constexpr Duration bye_limit = 8s, look_again = 20ms;
constexpr std::size_t most_reports_remembered = 64;
constexpr std::size_t last_lines_budget = 128u << 10; // of one report; escaped it may be six times that

Instant now() { return std::chrono::steady_clock::now(); }

class NodeAgent {
public:
    explicit NodeAgent(NodePlan plan)
        : plan_(std::move(plan)), started_(now()), jumps_(started_),
          evidence_(loop_, plan_.program), head_(loop_, plan_, {[this] { report(); }, [this](const Order &order) { take(order); }, [this](const std::string &text) { log(text); }}) {}

    int run() {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        for (const int number : {SIGPIPE, SIGHUP, SIGINT, SIGUSR1, SIGUSR2})
            ::signal(number, SIG_IGN);
        loop_.on_signal(SIGTERM, [this] {
            // Slurm tells every process of the job; the head says what follows from it.
            log("SIGTERM");
            term_ = true;
            report();
        });
        loop_.on_signal(SIGCHLD, [this] { reap(); });
        head_.start();
        tick();
        loop_.run();
        return exit_code_;
    }

private:
    // Never while a guard is alive that nobody waited for: its pid must stay its own. Waiting for all is right, as
    // the guard is known by its socket, not by its pid.
    void reap() {
        int status = 0;
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;)
            if (preparation_) {
                preparation_->child_ended(pid, status);
                if (chips_)
                    chips_->child_ended(pid, status);
            }
    }

    void log(const std::string &text) {
        log_.info(text);
    }

    void keep_line(const std::string &line) {
        if (config_)
            logs_.write(join_path(config_->logs_dir, "agent.log"), line);
        else
            early_log_.push_back(line);
    }

    void tick() {
        if (const Duration jump = jumps_.look(now()); jump > 0s)
            lease_.shift(jump);
        if (lease_.lost(now()) && config_ && !ending_) {
            // The head may be back, and this node then is as good as any.
            if (generation_ && !generation_->all_dead() && !std::exchange(lease_kill_, true)) {
                log_.warning("nothing heard of the head for too long: killing the ranks");
                generation_->kill();
            }
            // Of a job that ends nobody waits for this agent, which can't hear that it may go (its srun was killed).
            if (term_ && (!generation_ || generation_->all_dead())) {
                log("the job ends, and nothing is heard of its head: leaving");
                return end(0);
            }
            head_watch_->silent();
        } else if (!config_ && now() - started_ > find_head_limit) {
            std::fprintf(stderr, "trainctl-agent: %s: no head found within 5 minutes\n", plan_.node.c_str());
            end(1);
        }
        if (now() - last_report_ >= heartbeat())
            report();
        Duration wait = std::min<Duration>(heartbeat(), 1s);
        if (lease_.held(now()))
            wait = std::clamp<Duration>(lease_.left(now()), 1ms, wait);
        loop_.after(wait, [this] { tick(); });
    }

    Duration heartbeat() const { return config_ ? Duration{std::chrono::milliseconds{config_->heartbeat_ms}} : 1s; }

    void take(const Order &order) {
        if (drills_.cut_off(now()))
            return;
        for (const auto &[sequence, sent] : sent_) {
            if (sequence != order.answers || order.lease_ms <= 0)
                continue;
            lease_.renew(sent, std::chrono::milliseconds{order.lease_ms});
            if (head_watch_)
                head_watch_->heard();
            // As the head gave it: the guard sees for itself whether the job was suspended.
            granted_until_ = std::max(granted_until_, sent + std::chrono::milliseconds{order.lease_ms});
            if (generation_)
                generation_->renew(granted_until_);
        }
        if (order.config && !config_)
            begin(*order.config);
        if (order.seen_generation == current_)
            seen_exits_ = std::max(seen_exits_, order.seen_exits);
        if (order.bye)
            return end(0);
        if (!config_ || ending_)
            return;
        if (order.setup)
            preparation_->start();
        if (order.kill_generation > killed_)
            kill_up_to(order.kill_generation);
        if (order.start && order.start->generation > std::max(current_, killed_))
            start_generation(*order.start);
        if (generation_ && order.save_generation == current_ && saved_ < order.save_number) {
            saved_ = order.save_number;
            generation_->send_signal(order.save_signal);
        }
        if (generation_ && !generation_->all_dead() && drills_.take(order.drills, {config_->run, config_->attempt, current_, plan_.node}, now()))
            report();
        if (generation_ && order.evidence_generation == current_ && evidence_asked_ < current_)
            collect_evidence();
    }

    void begin(const NodeConfig &config) {
        config_ = config;
        for (const auto &line : std::exchange(early_log_, {}))
            logs_.write(join_path(config_->logs_dir, "agent.log"), line);
        // Attempts before this one are dead by the protocol; a node that came back may still run their ranks.
        const auto killed = kill_marked([&](const Mark &mark) {
            return mark.run == config.run && (mark.attempt < config.attempt || (mark.attempt == config.attempt && mark.node == plan_.node));
        });
        if (killed > 0)
            log(fmt::format("killed {} processes that were left of this run", killed));
        remove_progress_folders(config.run, plan_.node, own_environment());
        head_watch_ = std::make_unique<HeadWatch>(
            loop_, worker_, HeadWatch::Setting{plan_.attempt_dir, plan_.node, config.job, config.scancel, config.slurm_conf,
                                               std::chrono::milliseconds{config.leave_ms}, [this] { return ending_ || lease_.held(now()); },
                                               [this](const std::string &text) { log(text); }, [this] { end(1); }});
        preparation_ = std::make_unique<NodePreparation>(
            loop_, logs_, NodePreparation::Setting{plan_.program, plan_.node, [this] { prepared(); }, [this](const std::string &text) { log(text); }}, config);
    }

    void prepared() {
        port_ = free_port();
        if (preparation_ && preparation_->state() == SetupState::ok && preparation_->looked())
            chips_ = std::make_unique<ChipLook>(loop_, logs_, ChipLook::Setting{plan_.program, plan_.node, *preparation_->looked(), [this] { report(); }});
        if (preparation_) // else it is being made, and whoever does that reports
            report();
    }

    void collect_evidence() {
        evidence_asked_ = current_;
        EvidenceRequest request;
        request.file = fmt::format("{}/g{:02}/{}.evidence.txt", config_->logs_dir, current_, plan_.node);
        request.mark = {config_->run, config_->attempt, current_, plan_.node};
        request.environment = preparation_->environment();
        log("collecting what the ranks hang in: " + request.file);
        if (chips_)
            chips_->start(current_);
        evidence_.start(request, [this, generation = current_](const std::string &summary) {
            evidence_done_ = generation;
            evidence_text_ = summary;
            report();
        });
    }

    void start_generation(const StartSpec &spec) {
        if (!lease_.held(now()) || preparation_->state() != SetupState::ok || (generation_ && !generation_->all_dead()))
            return;
        current_ = spec.generation;
        seen_exits_ = 0;
        lease_kill_ = false;
        generation_ = std::make_unique<NodeGeneration>(
            loop_, logs_,
            NodeGeneration::Setting{plan_.program, plan_.node, *config_, preparation_->environment(), granted_until_, [this] { changed(); },
                                    [this](const std::string &text) { log(text); }}, spec);
        log(fmt::format("starting generation {}: {}", spec.generation, shell_join(spec.command)));
        if (const auto started = generation_->start(); !started) {
            log_.warning("cannot start the ranks: " + started.error().text());
            RankExit exit;
            exit.rank = spec.node_rank * spec.ranks_per_node;
            exit.node = plan_.node;
            exit.exit_code = 127;
            exit.last_lines = {started.error().text()};
            start_failures_ = {exit};
            dead_ = current_;
            generation_.reset();
        }
        report();
    }

    void kill_up_to(int generation) {
        killed_ = generation;
        if (generation_ && generation_->number() <= generation && !generation_->all_dead())
            return generation_->kill();
        sweep(generation);
    }

    // Never started by us, or dead already; an agent before us may have started it, and its ranks take a moment to die.
    void sweep(int generation) {
        const auto before_us = [&](const Mark &mark) {
            return mark.run == config_->run && mark.attempt == config_->attempt && mark.node == plan_.node && mark.generation > 0;
        };
        if (current_ == 0 && kill_marked(before_us) > 0)
            return void(loop_.after(look_again, [this, generation] { sweep(generation); }));
        dead_ = std::max(dead_, generation);
        report();
    }

    // Something happened on this node: the head hears it now, but for mere progress.
    void changed() {
        if (generation_->all_dead() && dead_ < generation_->number()) {
            dead_ = std::max(generation_->number(), killed_);
            port_ = free_port();
            log(fmt::format("generation {} is dead", generation_->number()));
            if (const auto dropped = logs_.dropped_lines(); dropped > 0)
                log_.warning(fmt::format("{} lines of output could not be kept so far", dropped));
        }
        for (auto at = reported_exits_; chips_ && at < generation_->exits().size(); ++at)
            if (chips_may_have_to_do_with(generation_->exits()[at]))
                chips_->start(current_);
        const bool urgent = generation_->exits().size() > reported_exits_ || dead_ > reported_dead_ || generation_->doubtful() ||
                            (generation_->progress().step && reported_step_of_ < current_);
        if (urgent)
            return report();
        // Rank 0 speaks for all; where it says nothing, the others' next beat is soon enough for a fleet of thousands.
        if (timer_ == 0 && generation_->has_first_rank())
            timer_ = loop_.at(std::max(now(), last_report_ + progress_pause), [this] {
                timer_ = 0;
                report();
            });
    }

    void report() {
        last_report_ = now();
        Report out;
        out.sequence = ++sequence_;
        out.agent = id_;
        if (preparation_) {
            out.setup = preparation_->state();
            out.setup_text = preparation_->text();
            out.bad_node = preparation_->bad_node();
            out.note = preparation_->note();
        }
        out.address = head_.local_address();
        out.free_port = port_;
        out.generation = current_;
        out.dead_generation = dead_;
        out.term = term_;
        out.evidence_generation = evidence_done_;
        out.evidence = evidence_text_;
        out.dropped_lines = static_cast<std::int64_t>(logs_.dropped_lines());
        const auto &exits = generation_ ? generation_->exits() : start_failures_;
        out.exits.assign(exits.begin() + static_cast<std::ptrdiff_t>(std::min(seen_exits_, exits.size())), exits.end());
        std::size_t budget = last_lines_budget;
        for (auto &exit : out.exits) {
            std::size_t size = 0;
            for (const auto &line : exit.last_lines)
                size += line.size();
            if (size > budget)
                exit.last_lines.clear(); // of the first ones there is enough
            budget -= std::min(budget, size);
        }
        if (generation_) {
            reported_exits_ = exits.size();
            out.doubtful_generation = generation_->doubtful() && dead_ < current_ ? current_ : 0;
            out.step = generation_->progress().step;
            if (out.step)
                reported_step_of_ = current_;
            out.loss = generation_->progress().loss;
            out.rate = generation_->progress().rate;
            out.activity = generation_->activity();
            generation_->look();
            out.sight = generation_->sight();
            if (chips_)
                chips_->tell(out.sight);
        }
        out.drills = drills_.done();
        reported_dead_ = dead_;
        sent_.emplace_back(out.sequence, last_report_);
        if (sent_.size() > most_reports_remembered)
            sent_.pop_front();
        if (!drills_.cut_off(now()))
            head_.send(out);
    }

    void end(int code) {
        if (std::exchange(ending_, true))
            return;
        exit_code_ = code;
        ending_since_ = now();
        head_.stop();
        if (preparation_)
            preparation_->kill();
        if (chips_)
            chips_->kill();
        if (generation_)
            generation_->kill();
        leave();
    }

    // Daemons of setup go too: nothing of a run outlives its attempt.
    void leave() {
        reap();
        const auto left = descendants_of(::getpid(), list_processes());
        if (left.empty() || now() - ending_since_ > bye_limit) {
            if (!left.empty())
                log_.warning(fmt::format("{} processes do not die", left.size()));
            loop_.stop();
            return;
        }
        // The guard kills its own, and then ends; what is not its own is killed here.
        if (!generation_ || generation_->all_dead() || now() - ending_since_ > bye_limit / 2)
            for (const pid_t pid : left)
                ::kill(pid, SIGKILL);
        loop_.after(look_again, [this] { leave(); });
    }

    NodePlan plan_;
    Loop loop_;
    LogWriter logs_;
    const Log log_{plan_.node, [this](const std::string &line) { keep_line(line); }};
    Instant started_, last_report_, ending_since_, granted_until_;
    JumpWatch jumps_;
    Lease lease_;
    Worker worker_;
    EvidenceCollector evidence_;
    NodeDrills drills_;
    HeadConnection head_;
    std::optional<NodeConfig> config_;
    std::unique_ptr<NodePreparation> preparation_;
    std::unique_ptr<ChipLook> chips_;
    std::unique_ptr<NodeGeneration> generation_;
    std::vector<RankExit> start_failures_;
    std::vector<std::string> early_log_;
    std::deque<std::pair<std::uint64_t, Instant>> sent_;
    const std::string id_ = random_hex(8);
    std::string evidence_text_;
    Loop::Timer timer_ = 0;
    std::uint64_t sequence_ = 0;
    std::unique_ptr<HeadWatch> head_watch_;
    int current_ = 0, killed_ = 0, dead_ = 0, saved_ = 0, evidence_asked_ = 0, evidence_done_ = 0, reported_dead_ = 0, reported_step_of_ = 0, port_ = 0, exit_code_ = 0;
    std::size_t seen_exits_ = 0, reported_exits_ = 0;
    bool term_ = false, ending_ = false, lease_kill_ = false;
};

} // namespace

int run_node(const NodePlan &plan) { return NodeAgent{plan}.run(); }

} // namespace trainctl
