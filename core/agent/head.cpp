#include "agent/head.h"

#include "agent/head_machine.h"
#include "agent/head_orders.h"
#include "agent/head_server.h"
#include "agent/head_step.h"
#include "agent/log_writer.h"
#include "agent/worker.h"
#include "base/files.h"
#include "base/text.h"

#include <csignal>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration checkpoint_poll = 10s, checkpoint_poll_when_saving = 1s;
constexpr Duration bye_limit = 3s;        // for the agents to leave and srun to end, then srun is made to
constexpr Duration srun_limit = 2s;       // for srun to do so
constexpr Duration hooks_limit = 3s;      // for the last words of the journal

Instant now() { return std::chrono::steady_clock::now(); }

std::string own_program() {
    char program[4096];
    const auto size = ::readlink("/proc/self/exe", program, sizeof program);
    return size > 0 ? std::string(program, static_cast<std::size_t>(size)) : "";
}

HeadConfig machine_config(const HeadPlan &plan) {
    HeadConfig config;
    config.nodes = plan.nodes;
    config.needed = plan.experiment.resources.nodes;
    config.ranks_per_node = node_config(plan).ranks_per_node;
    config.lease = plan.experiment.recovery.lease;
    config.lease_from = plan.lease_from;
    config.heartbeat = plan.experiment.recovery.heartbeat;
    config.save_time = plan.experiment.checkpoint.save_time;
    config.save_signal = plan.experiment.checkpoint.save_signal;
    config.total_steps = plan.experiment.progress.total_steps;
    if (plan.time_left)
        config.limit = now() + *plan.time_left;
    return config;
}

class Head {
public:
    Head(const HeadPlan &plan, const HeadHooks &hooks)
        : plan_(plan), hooks_(std::make_shared<HeadHooks>(hooks)), loop_(std::make_shared<Loop>()),
          machine_(machine_config(plan), now()), config_(node_config(plan)),
          server_(*loop_, plan.attempt, plan.nodes,
                  {[this](const std::string &node) { connected(node); }, [this](const std::string &node) { give(NodeClosed{node}); },
                   [this](const std::string &node, const Report &report) { take(node, report); }, [this](const std::string &text) { log(text); }}),
          step_(*loop_, {[this](const std::string &line) { log("agents: " + line); },
                         [this](const std::string &text) { step_ended(text); }}) {}

    Outcome run() {
        const auto spec = start_spec(plan_, plan_.resume_from);
        if (!spec)
            return cannot_start(spec.error());
        spec_ = *spec;
        const auto address = server_.start();
        if (!address)
            return cannot_start(address.error());
        const auto written = PosixFiles{}.write(plan_.paths.attempt_file(plan_.attempt, "head.json"), dump_json(to_json(*address)));
        if (!written)
            return cannot_start(written.error());
        ::signal(SIGPIPE, SIG_IGN);
        listen_to_signals();
        const auto agent = plan_.agent_program.empty() ? own_program() : plan_.agent_program;
        if (const auto started = step_.start(step_command(plan_, agent), step_environment(own_environment(), plan_.tools)); !started)
            return cannot_start(started.error());
        note("agents_started", Json{{"nodes", plan_.nodes}});
        poll_checkpoint();
        tick();
        loop_->run();
        log_outcome();
        beats_.drain(hooks_limit);
        checkpoints_.drain(1s);
        return *outcome_;
    }

private:
    struct NodeOrders {
        Order order;
        std::uint64_t heard = 0;
        std::string address;
        int port = 0;
        bool config_sent = false;
    };

    Outcome cannot_start(const Error &error) {
        log("cannot start: " + error.text());
        Outcome out;
        out.kind = OutcomeKind::setup_failed;
        out.text = "the head could not start: " + error.text();
        return out;
    }

    void listen_to_signals() {
        const auto heard = [this](const char *name, const HeadInput &input) {
            return [this, name, input] {
                log(std::string{"signal "} + name);
                note("signal", Json{{"signal", name}});
                give(input);
            };
        };
        loop_->on_signal(SIGTERM, heard("TERM", TermSignal{}));
        loop_->on_signal(SIGUSR1, heard("USR1", EarlySignal{}));
        loop_->on_signal(SIGUSR2, [this] { look_at_wishes(); });
        loop_->on_signal(SIGCHLD, [this] {
            int status = 0;
            // srun alone: threads beside this one wait for commands of their own.
            const pid_t srun = step_.pid();
            if (srun > 0 && ::waitpid(srun, &status, WNOHANG) == srun)
                step_.child_ended(srun, status);
        });
    }

    void log(const std::string &text) {
        logs_.write(join_path(config_.logs_dir, "agent.log"), fmt::format("{} head: {}", utc_text(std::chrono::system_clock::now()), text));
    }

    void note(const std::string &name, Json data) {
        beats_.add([hooks = hooks_, name, data = std::move(data)]() mutable { hooks->journal(name, std::move(data)); });
    }

    void tick() {
        if (machine_.phase() == HeadPhase::ended)
            return;
        give(Tick{});
        const auto poll = machine_.phase() == HeadPhase::saving ? checkpoint_poll_when_saving : checkpoint_poll;
        if (now() - polled_ >= poll)
            poll_checkpoint();
    }

    // Every input goes through here; so does the next time that the machine wants to be woken.
    void give(const HeadInput &input) {
        const auto before = machine_.phase();
        for (const auto &action : machine_.step(input, now()))
            std::visit([this](const auto &what) { act(what); }, action);
        if (machine_.phase() != before)
            log(fmt::format("{} -> {}", to_string(before), to_string(machine_.phase())));
        loop_->cancel(timer_);
        if (const auto wake = machine_.wake_at())
            timer_ = loop_->at(*wake, [this] {
                timer_ = 0;
                tick();
            });
    }

    void act(const StartSetup &action) {
        note("setup_started", Json{{"nodes", action.nodes}});
        for (const auto &node : action.nodes)
            nodes_[node].order.setup = true;
        push();
    }

    void act(const StartGeneration &action) {
        auto spec = spec_;
        spec.generation = action.generation;
        spec.nodes = static_cast<int>(action.nodes.size());
        spec.master_addr = nodes_[action.nodes.front()].address;
        spec.master_port = nodes_[action.nodes.front()].port;
        spec.environment["TRAINCTL_GENERATION"] = std::to_string(action.generation);
        for (const auto &node : action.nodes) {
            nodes_[node].order.start = spec;
            ++spec.node_rank;
        }
        training_since_ = unix_seconds(std::chrono::system_clock::now());
        note("generation_started", Json{{"generation", action.generation}, {"nodes", action.nodes},
                                        {"resume_from", plan_.resume_from ? plan_.resume_from->path : ""}});
        log(fmt::format("generation {} on {}", action.generation, join(action.nodes, ",")));
        push();
    }

    void act(const KillRanks &action) {
        for (auto &[node, state] : nodes_) {
            state.order.kill_generation = action.generation;
            state.order.start.reset();
        }
        log(fmt::format("killing generation {}", action.generation));
        push();
        note("ranks_killed", Json{{"generation", action.generation}});
    }

    void act(const SendSave &action) {
        for (auto &[node, state] : nodes_) {
            state.order.save_generation = action.generation;
            state.order.save_signal = action.signal;
        }
        push();
        note("save_asked", Json{{"signal", action.signal}});
    }

    void act(const PollCheckpoint &) { poll_checkpoint(); }

    void act(const WriteBeat &) {
        const Instant started = now();
        beats_.add([this, started, hooks = hooks_, file = progress_file(), weak = std::weak_ptr{loop_}] {
            const auto written = hooks->write_beat(file);
            const bool superseded = hooks->superseded();
            const bool stop = hooks->stop_wished();
            const auto loop = weak.lock();
            if (!loop)
                return;
            loop->post([this, started, stop, superseded, why = written ? std::string{} : written.error().text()] {
                give(why.empty() ? HeadInput{BeatWritten{started}} : HeadInput{BeatFailed{why}});
                if (superseded)
                    give(Superseded{});
                if (stop)
                    give(StopWish{});
            });
        });
    }

    void act(const Finish &action) {
        outcome_ = action.outcome;
        if (plan_.resume_from)
            outcome_->resumed_step = plan_.resume_from->step;
        if (outcome_->checkpoint.empty() && plan_.resume_from) {
            outcome_->checkpoint = plan_.resume_from->path;
            outcome_->checkpoint_step = plan_.resume_from->step;
        }
        outcome_->written = unix_seconds(std::chrono::system_clock::now());
        if (outcome_->kind != OutcomeKind::lease_lost) // the last step and loss, for people
            beats_.add([hooks = hooks_, file = progress_file()] { (void)hooks->write_beat(file).ok(); });
        for (auto &[node, state] : nodes_)
            state.order.bye = true;
        push();
        if (!step_.running())
            return loop_->stop();
        leave_timer_ = loop_->after(bye_limit, [this] {
            log("srun did not end by itself");
            step_.terminate();
            leave_timer_ = loop_->after(srun_limit, [this] {
                step_.kill();
                loop_->stop();
            });
        });
    }

    ProgressFile progress_file() {
        ProgressFile file;
        file.beat = ++beat_;
        file.written = unix_seconds(std::chrono::system_clock::now());
        file.generation = machine_.generation();
        file.phase = to_string(machine_.phase());
        file.step = machine_.progress().step;
        file.loss = machine_.progress().loss;
        file.rate = machine_.progress().rate;
        file.total_steps = plan_.experiment.progress.total_steps;
        if (const auto &newest = machine_.checkpoint()) {
            file.checkpoint = newest->path;
            file.checkpoint_step = newest->step;
        }
        if (plan_.resume_from) {
            file.resumed_from = plan_.resume_from->path;
            file.resumed_step = plan_.resume_from->step;
        }
        file.training_since = training_since_;
        file.nodes = static_cast<int>(machine_.members().size());
        file.ranks = machine_.generation() > 0 ? file.nodes * spec_.ranks_per_node : 0;
        return file;
    }

    void poll_checkpoint() {
        polled_ = now();
        if (std::exchange(polling_, true))
            return;
        checkpoints_.add([this, hooks = hooks_, weak = std::weak_ptr{loop_}] {
            auto newest = hooks->newest_checkpoint();
            if (const auto loop = weak.lock())
                loop->post([this, newest = std::move(newest)] {
                    polling_ = false;
                    give(CheckpointPolled{newest});
                });
        });
    }

    void look_at_wishes() {
        beats_.add([this, hooks = hooks_, weak = std::weak_ptr{loop_}] {
            const bool stop = hooks->stop_wished();
            if (const auto loop = weak.lock(); loop && stop)
                loop->post([this] { give(StopWish{}); });
        });
    }

    void step_ended(const std::string &text) {
        log(text);
        if (outcome_)
            return loop_->stop();
        give(StepEnded{text});
    }

    void connected(const std::string &node) {
        nodes_[node].config_sent = false; // another connection may be another agent
        log("the agent on " + node + " is here");
        give(NodeConnected{node});
    }

    void take(const std::string &node, const Report &report) {
        auto &state = nodes_[node];
        state.heard = report.sequence;
        state.address = report.address;
        state.port = report.free_port;
        if (report.generation > state.order.seen_generation) {
            state.order.seen_generation = report.generation;
            state.order.seen_exits = 0;
        }
        give(NodeHeard{node});
        if (report.setup == SetupState::ok || report.setup == SetupState::failed)
            give(SetupDone{node, report.setup == SetupState::ok, report.setup_text});
        if (report.term)
            give(NodeTerm{node});
        take_progress(node, report);
        for (const auto &exit : report.exits) {
            if (noted_exits_.insert({report.generation, exit.rank}).second) {
                note("rank_exited", to_json(exit));
                ++state.order.seen_exits;
            }
            give(RankExited{report.generation, exit});
        }
        if (report.generation >= (state.order.start ? state.order.start->generation : 1))
            state.order.start.reset();
        if (report.dead_generation > 0)
            give(NodeRanksDead{node, report.dead_generation, true});
        if (report.doubtful_generation > 0)
            give(NodeRanksDead{node, report.doubtful_generation, false});
        send(node);
    }

    // Rank 0 speaks for all; where it never says anything, whoever does.
    void take_progress(const std::string &node, const Report &report) {
        if (!report.step && !report.loss && !report.rate)
            return;
        const bool first = !machine_.members().empty() && node == machine_.members().front();
        first_node_speaks_ = first_node_speaks_ || first;
        if (first || !first_node_speaks_)
            give(ProgressSeen{report.step, report.loss, report.rate});
    }

    void send(const std::string &node) {
        auto &state = nodes_[node];
        Order order = state.order;
        order.answers = state.heard;
        order.lease_ms = std::chrono::duration_cast<std::chrono::milliseconds>(machine_.lease().left(now())).count();
        if (!std::exchange(state.config_sent, true))
            order.config = config_;
        server_.send(node, order);
    }

    void push() {
        for (const auto &[node, state] : nodes_)
            send(node);
    }

    void log_outcome() {
        log(fmt::format("{}: {}", to_string(outcome_->kind), outcome_->text));
        for (const auto &line : outcome_->first ? outcome_->first->last_lines : std::vector<std::string>{})
            log("  " + line);
    }

    const HeadPlan plan_;
    std::shared_ptr<HeadHooks> hooks_;
    std::shared_ptr<Loop> loop_;
    LogWriter logs_;
    Worker beats_, checkpoints_;
    HeadMachine machine_;
    NodeConfig config_;
    StartSpec spec_;
    HeadServer server_;
    AgentsStep step_;
    std::map<std::string, NodeOrders> nodes_;
    std::set<std::pair<int, int>> noted_exits_; // generation, rank
    std::optional<Outcome> outcome_;
    Loop::Timer timer_ = 0, leave_timer_ = 0;
    Instant polled_;
    std::uint64_t beat_ = 0;
    std::int64_t training_since_ = 0;
    bool polling_ = false, first_node_speaks_ = false;
};

} // namespace

Outcome run_head(const HeadPlan &plan, const HeadHooks &hooks) { return Head{plan, hooks}.run(); }

} // namespace trainctl
