#include "agent/head.h"

#include "agent/drill.h"
#include "agent/head_children.h"
#include "agent/head_machine.h"
#include "agent/head_nodes.h"
#include "agent/head_orders.h"
#include "agent/head_server.h"
#include "agent/log_writer.h"
#include "agent/srun_ranks.h"
#include "agent/worker.h"
#include "base/files.h"
#include "base/log.h"
#include "base/hash.h"
#include "base/text.h"

#include <csignal>
#include <fmt/format.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration checkpoint_poll = 10s, checkpoint_poll_when_saving = 1s;
constexpr Duration hooks_limit = 3s;      // for the last words of the journal

Instant now() { return std::chrono::steady_clock::now(); }
WallTime wall() { return std::chrono::system_clock::now(); }

class Head {
public:
    Head(const HeadPlan &plan, const HeadHooks &hooks)
        : plan_(plan), hooks_(std::make_shared<HeadHooks>(hooks)), loop_(std::make_shared<Loop>()),
          machine_(head_config(plan, now()), now()), config_(node_config(plan)), resume_from_(plan.resume_from),
          server_(*loop_, plan.attempt, plan.nodes,
                  {[this](const std::string &node) { connected(node); }, [this](const std::string &node) { closed(node); },
                   [this](const std::string &node, const Report &report) { take(node, report); }, [this](const std::string &text) { log(text); }}),
          children_(*loop_, logs_, plan_, {[this](const std::string &text) { log(text); }, [this](const std::string &text) { step_ended(text); },
                                           [this](int generation, const std::string &text) { ranks_failed(generation, text); },
                                           [this](const MakeLink &make) { server_.admit(make); }}),
          drills_({[this](const std::string &event, Json data) { note(event, std::move(data)); }, [this](const auto &orders) { nodes_.ask_drills(orders), push(); },
                   [this](auto then) { cut_newest(std::move(then)); }}) {}

    Outcome run() {
        if (const auto specs = start_specs(plan_, resume_from_, {1, plan_.nodes, "", 0}); !specs)
            return cannot_start(specs.error());
        const auto address = server_.start();
        if (!address)
            return cannot_start(address.error());
        if (const auto written = PosixFiles{}.write(plan_.paths.attempt_file(plan_.attempt, "head.json"), dump_json(to_json(*address))); !written)
            return cannot_start(written.error());
        ::signal(SIGPIPE, SIG_IGN);
        listen_to_signals();
        if (const auto started = children_.start_agents(plan_.nodes); !started)
            return cannot_start(started.error());
        note("agents_started", Json{{"nodes", plan_.nodes}});
        poll_checkpoint();
        tick();
        loop_->run();
        children_.ranks().kill_all();
        log_outcome();
        beats_.drain(hooks_limit);
        checkpoints_.drain(1s);
        return *outcome_;
    }

private:
    Outcome cannot_start(const Error &error) {
        log_.warning("cannot start: " + error.text());
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
        loop_->on_signal(SIGCHLD, [this] { children_.reap(); });
    }

    std::string log_path() const { return join_path(config_.logs_dir, "agent.log"); }
    void log(const std::string &text) { log_.info(text); }

    void note(const std::string &name, Json data) {
        beats_.add([hooks = hooks_, name, data = std::move(data)]() mutable { hooks->journal(name, std::move(data)); });
    }

    void tick() {
        if (machine_.phase() == HeadPhase::ended)
            return;
        give(Tick{});
        const auto poll = machine_.phase() == HeadPhase::saving || machine_.save_awaited() ? checkpoint_poll_when_saving : checkpoint_poll;
        if (now() - polled_ >= poll)
            poll_checkpoint();
    }

    // Every input goes through here; so does the next time that the machine wants to be woken.
    void give(const HeadInput &input) {
        const std::string before = to_string(machine_.phase());
        for (const auto &action : machine_.step(input, now()))
            std::visit([this](const auto &what) { act(what); }, action);
        if (before != to_string(machine_.phase()))
            log(fmt::format("{} -> {}", before, to_string(machine_.phase())));
        loop_->cancel(timer_);
        if (const auto wake = machine_.wake_at())
            timer_ = loop_->at(*wake, [this] {
                timer_ = 0;
                tick();
            });
    }

    void act(const StartSetup &action) {
        note("setup_started", Json{{"nodes", action.nodes}});
        nodes_.ask_setup(action.nodes);
        push();
    }

    void act(const StartAgents &action) {
        children_.start_agents_again(action.nodes);
        note("agents_started", Json{{"nodes", action.nodes}});
    }

    void act(const StartGeneration &action) {
        if (action.generation > 1)
            resume_from_ = action.resume_from;
        first_node_speaks_ = false;
        auto specs = start_specs(plan_, resume_from_, {action.generation, action.nodes, nodes_.address(action.nodes.front()),
                                                       nodes_.port(action.nodes.front())});
        INVARIANT(specs); // the same text was expanded at the start
        const bool by_srun = plan_.experiment.launch.kind == LaunchKind::srun;
        const RanksStep step{action.generation, specs->front().ranks_per_node, action.nodes, random_hex(16), plan_.experiment.launch.mpi};
        for (std::size_t i = 0; i < action.nodes.size(); ++i) {
            if (by_srun)
                (*specs)[i].environment[task_token_variable] = step.token;
            nodes_.ask_start(action.nodes[i], std::move((*specs)[i]));
        }
        if (const auto started = by_srun ? children_.ranks().start(step) : Result<void>{}; !started)
            loop_->post([this, generation = action.generation, text = started.error().text()] { ranks_failed(generation, text); });
        training_since_ = unix_seconds(wall());
        Json data{{"generation", action.generation}, {"nodes", action.nodes}, {"resume_from", resume_from_ ? resume_from_->path : ""}};
        if (broke_)
            data["standstill_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(now() - *broke_).count();
        note("generation_started", std::move(data));
        log(fmt::format("generation {} on {}, from {}{}", action.generation, join(action.nodes, ","),
                        resume_from_ ? resume_from_->path : "the beginning",
                        broke_ ? fmt::format(", {:.3f} s after the failure was seen", std::chrono::duration<double>(now() - *broke_).count()) : ""));
        push();
    }

    // srun itself failed: for the machine the first rank did, with srun's words.
    void ranks_failed(int generation, const std::string &text) {
        log(text);
        const auto node = machine_.members().empty() ? "" : machine_.members().front();
        give(RankExited{generation, RankExit{0, 0, node, 1, 0, 0, false, split_lines(text)}});
    }

    void act(const KillRanks &action) {
        children_.ranks().killed(action.generation);
        broke_ = now();
        nodes_.ask_kill(action.generation);
        log(fmt::format("killing generation {}", action.generation));
        push();
        note("ranks_killed", Json{{"generation", action.generation}});
    }

    void act(const SendSave &action) {
        nodes_.ask_save(action.generation, action.signal);
        push();
        note("save_asked", Json{{"signal", action.signal}});
    }

    void act(const CollectEvidence &action) {
        nodes_.ask_evidence(action.generation);
        push();
    }

    void act(const PollCheckpoint &) { poll_checkpoint(); }
    void act(const LookAtWishes &) { look_at_wishes(); }

    void act(const ChooseCheckpoint &action) {
        auto facts = action.facts;
        facts.drilled = drills_.hurt(facts.generation);
        checkpoints_.add([this, facts, hooks = hooks_, weak = std::weak_ptr{loop_}] {
            auto next = hooks->choose_checkpoint(facts);
            if (const auto loop = weak.lock())
                loop->post([this, next = std::move(next)] {
                    give(next ? CheckpointChosen{next->checkpoint, "", next->failure} : CheckpointChosen{std::nullopt, next.error().text()});
                });
        });
    }

    void act(const WriteBeat &) {
        const Instant started = now();
        beats_.add([this, started, hooks = hooks_, file = progress_file(), weak = std::weak_ptr{loop_}] {
            const auto written = hooks->write_beat(file);
            const bool superseded = hooks->superseded();
            const Wishes wishes = hooks->wishes();
            const auto loop = weak.lock();
            if (!loop)
                return;
            loop->post([this, started, wishes, superseded, why = written ? std::string{} : written.error().text()] {
                give(why.empty() ? HeadInput{BeatWritten{started}} : HeadInput{BeatFailed{why}});
                if (superseded)
                    give(Superseded{});
                take(wishes);
            });
        });
    }

    void act(const ReportNode &action) {
        note("bad_node", Json{{"node", action.node}, {"text", action.evidence}});
        if (children_.reporter().report({action.node, action.evidence, plan_.paths.run.value, plan_.attempt.value}))
            log("health.report_node is told of " + action.node);
    }

    void act(const Note &action) {
        log(action.event + ": " + action.text);
        Json data = action.data;
        data["text"] = action.text;
        note(action.event, std::move(data));
    }

    void act(const GenerationEnded &action) {
        log(fmt::format("generation {} ended after {:.1f} s: {}", action.generation, action.trained_s, action.text));
        note("generation_ended", to_json(action));
    }

    void act(const Finish &action) {
        outcome_ = action.outcome;
        if (plan_.resume_from) // where the attempt began
            outcome_->resumed_step = plan_.resume_from->step;
        if (outcome_->checkpoint.empty() && resume_from_) {
            outcome_->checkpoint = resume_from_->path;
            outcome_->checkpoint_step = resume_from_->step;
        }
        outcome_->written = unix_seconds(wall());
        if (outcome_->kind != OutcomeKind::lease_lost) // the last step and loss, for people
            beats_.add([hooks = hooks_, file = progress_file()] { (void)hooks->write_beat(file).ok(); });
        nodes_.ask_bye();
        push();
        leave();
    }

    void leave() { children_.end_agents(server_.connections() > 0, [this] { loop_->stop(); }); }

    ProgressFile progress_file() {
        ProgressFile file = progress_of(machine_, plan_.experiment);
        file.beat = ++beat_;
        file.written = unix_seconds(wall());
        if (resume_from_) {
            file.resumed_from = resume_from_->path;
            file.resumed_step = resume_from_->step;
        }
        file.training_since = training_since_;
        file.dropped_lines = nodes_.dropped_lines() + static_cast<std::int64_t>(logs_.dropped_lines());
        file.agents_by_srun = static_cast<int>(server_.connections_by_srun());
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
            const Wishes wishes = hooks->wishes();
            if (const auto loop = weak.lock())
                loop->post([this, wishes] { take(wishes); });
        });
    }

    void take(const Wishes &wishes) {
        if (wishes.end != EndWish::none)
            give(StopWish{wishes.end == EndWish::stop});
        else if (wishes.checkpoint_now)
            give(SaveWish{});
        give(WishesSeen{});
        if (wishes.drill)
            drills_.take(*wishes.drill, plan_.attempt.value, machine_.phase() == HeadPhase::training ? machine_.generation() : 0);
    }

    void cut_newest(std::function<void(const Result<std::string> &)> then) {
        checkpoints_.add([hooks = hooks_, weak = std::weak_ptr{loop_}, then = std::move(then)] {
            const auto cut = cut_checkpoint(hooks->newest_checkpoint());
            if (const auto loop = weak.lock())
                loop->post([then, cut] { then(cut); });
        });
    }

    void closed(const std::string &node) {
        give(NodeClosed{node});
        if (outcome_)
            leave();
    }
    void step_ended(const std::string &text) {
        log(text);
        if (outcome_)
            return leave();
        give(StepEnded{text});
    }

    void connected(const std::string &node) {
        nodes_.connected(node);
        log("the agent on " + node + " is here, by " + (server_.by_srun(node) ? "srun's streams" : "TCP"));
        give(NodeConnected{node});
    }

    void take(const std::string &node, const Report &report) {
        const auto heard = nodes_.take(node, report);
        if (heard.stranger) {
            Order leave;
            leave.bye = true;
            return server_.send(node, leave);
        }
        drills_.done(heard.drills);
        for (const auto &exit : heard.exits)
            note("rank_exited", to_json(exit));
        for (const auto &input : heard.inputs)
            give(input);
        take_progress(node, report);
        send(node);
    }

    // Rank 0 speaks for all; where it never says anything, whoever does.
    void take_progress(const std::string &node, const Report &report) {
        if (report.generation != machine_.generation() || (!report.step && !report.loss && !report.rate && report.activity.empty()))
            return;
        const bool first = !machine_.members().empty() && node == machine_.members().front();
        first_node_speaks_ = first_node_speaks_ || first;
        if (first || !first_node_speaks_)
            give(ProgressSeen{report.step, report.loss, report.rate, report.activity});
    }

    void send(const std::string &node) {
        const Duration left = std::min<Duration>(machine_.lease().left(now()), plan_.experiment.recovery.node_timeout);
        config_.clock_ms = std::chrono::duration_cast<std::chrono::milliseconds>(wall().time_since_epoch()).count();
        server_.send(node, nodes_.order(node, std::chrono::duration_cast<std::chrono::milliseconds>(left), config_));
    }

    void push() {
        for (const auto &node : nodes_.names())
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
    const Log log_{"head", [this](const std::string &line) { logs_.write(log_path(), line); }};
    Worker beats_, checkpoints_;
    HeadMachine machine_;
    NodeConfig config_;
    std::optional<CheckpointSeen> resume_from_; // of the newest generation
    HeadServer server_;
    HeadChildren children_;
    HeadNodes nodes_;
    HeadDrills drills_;
    std::optional<Outcome> outcome_;
    std::optional<Instant> broke_; // when the newest failure was seen
    Loop::Timer timer_ = 0;
    Instant polled_;
    std::uint64_t beat_ = 0;
    std::int64_t training_since_ = 0;
    bool polling_ = false, first_node_speaks_ = false;
};

} // namespace

Outcome run_head(const HeadPlan &plan, const HeadHooks &hooks) { return Head{plan, hooks}.run(); }

} // namespace trainctl
