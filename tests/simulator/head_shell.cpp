#include "simulator/head_shell.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

constexpr Duration checkpoint_poll = 10s, checkpoint_poll_when_saving = 1s, bye_limit = 3s, hooks_limit = 3s;
constexpr int most_spins = 1000; // wakes in the past, of one head

} // namespace

Worker::Worker(Loop &loop, std::string name) : loop_(loop) {
    actor_ = loop.spawn(std::move(name), [&loop, queue = queue_] {
        for (;;) {
            while (queue->tasks.empty())
                loop.wait_until(loop.now() + 24h);
            queue->tasks.front()();
            queue->tasks.pop_front();
        }
    });
}

Worker::~Worker() { loop_.kill(actor_); }

void Worker::add(std::function<void()> what) {
    queue_->tasks.push_back(std::move(what));
    loop_.wake(actor_);
}

HeadShell::HeadShell(HeadSetup setup, JobStart start, Host &host, TrainHooks hooks)
    : setup_(std::move(setup)), loop_(setup_.agents.loop), start_(start), host_(host), hooks_(std::move(hooks)),
      files_(loop_, setup_.agents.disk, host), beats_(loop_, "beats"), looks_(loop_, "looks"), polled_(loop_.now()) {}

HeadShell::~HeadShell() {
    for (auto &[node, guest] : guests_)
        guest.first->close(Wire::End::head);
}

Outcome HeadShell::run(const std::optional<CheckpointSeen> &resume_from) {
    actor_ = loop_.current();
    resume_from_ = resume_from;
    in_use_ = resume_from ? resume_from->path : "";
    if (resume_from)
        setup_.config.resumed_step = resume_from->step;
    machine_.emplace(setup_.config, now());
    setup_.agents.heads[start_.attempt.value] = shared_from_this();
    start_agents(setup_.config.nodes);
    poll_checkpoint();
    while (!outcome_) {
        if (inbox_.empty()) {
            const auto wake = machine_->wake_at();
            if (wake && *wake > now())
                loop_.wait_until(*wake);
            else if (++spins_ > most_spins)
                setup_.agents.trade.ledger.claim("the head asks to be woken again and again"), loop_.sleep(1s);
            if (inbox_.empty()) {
                give(Tick{});
                const auto poll = machine_->phase() == HeadPhase::saving ? checkpoint_poll_when_saving : checkpoint_poll;
                if (now() - polled_ >= poll)
                    poll_checkpoint();
            }
        }
        while (!inbox_.empty() && !outcome_)
            std::exchange(inbox_.front(), {})(), inbox_.pop_front();
    }
    const Outcome outcome = *outcome_;
    const Instant left = now() + bye_limit;
    while (now() < left && std::any_of(guests_.begin(), guests_.end(), [](const auto &guest) { return guest.second.second.lock() && guest.second.second.lock()->alive(); }))
        loop_.sleep(200ms);
    for (const Instant end = now() + hooks_limit; now() < end && !beats_.idle();)
        loop_.sleep(200ms);
    return outcome;
}

void HeadShell::post(std::function<void()> what) {
    inbox_.push_back(std::move(what));
    if (actor_)
        loop_.wake(*actor_);
}

void HeadShell::signal(const HeadInput &input) {
    post([this, input] { give(input); });
}

void HeadShell::ring() {
    beats_.add([this] {
        const EndWish end = hooks_.end_wish();
        const bool save = end == EndWish::none && hooks_.take_save_wish();
        post([this, end, save] { take_wishes(end, save); });
    });
}

void HeadShell::take_wishes(EndWish end, bool save) {
    if (end != EndWish::none)
        give(StopWish{end == EndWish::stop});
    else if (save)
        give(SaveWish{});
    give(WishesSeen{});
}

void HeadShell::welcome(const std::string &node, const std::shared_ptr<Wire> &wire, const std::shared_ptr<Agent> &agent) {
    const auto &known = setup_.config.nodes;
    if (std::find(known.begin(), known.end(), node) == known.end())
        return wire->close(Wire::End::head);
    // Takes the place of an old connection that broke without a word.
    if (const auto old = std::exchange(guests_[node], {wire, agent}); old.first)
        old.first->close(Wire::End::head);
    wire->on_broken(Wire::End::head, [self = weak_from_this(), node, mine = std::weak_ptr{wire}] {
        const auto shell = self.lock();
        if (!shell || shell->guests_[node].first != mine.lock())
            return;
        shell->guests_.erase(node);
        shell->post([raw = shell.get(), node] { raw->give(NodeClosed{node}); });
    });
    post([this, node] {
        nodes_.connected(node);
        give(NodeConnected{node});
    });
}

void HeadShell::hear(const std::string &node, const std::shared_ptr<Wire> &wire, Report report) {
    const auto guest = guests_.find(node);
    if (guest == guests_.end() || guest->second.first != wire)
        return;
    post([this, node, report = std::move(report)] {
        const auto heard = nodes_.take(node, report);
        if (heard.stranger) {
            const auto known = guests_.find(node);
            Order leave;
            leave.bye = true;
            if (known != guests_.end())
                known->second.first->send(Wire::End::head, [agent = known->second.second, leave] {
                    if (const auto here = agent.lock(); here && here->alive())
                        here->take(leave);
                });
            return;
        }
        for (const auto &input : heard.inputs)
            give(input);
        take_progress(node, report);
        send(node);
    });
}

void HeadShell::take_progress(const std::string &node, const Report &report) {
    if (report.generation != machine_->generation() || !report.step)
        return;
    const bool first = !machine_->members().empty() && node == machine_->members().front();
    first_speaks_ = first_speaks_ || first;
    if (first || !first_speaks_)
        give(ProgressSeen{report.step, report.loss, report.rate, report.activity});
}

void HeadShell::send(const std::string &node) {
    const auto guest = guests_.find(node);
    if (guest == guests_.end())
        return;
    const Duration left = std::min<Duration>(machine_->lease().left(now()), setup_.config.node_timeout);
    auto order = nodes_.order(node, std::chrono::duration_cast<std::chrono::milliseconds>(left), setup_.nodes);
    guest->second.first->send(Wire::End::head, [agent = guest->second.second, order = std::move(order)] {
        if (const auto here = agent.lock(); here && here->alive())
            here->take(order);
    });
}

void HeadShell::push() {
    for (const auto &node : nodes_.names())
        send(node);
}

void HeadShell::give(const HeadInput &input) {
    for (const auto &action : machine_->step(input, now())) {
        loop_.effect(); // it may die between any two
        act(action);
    }
}

void HeadShell::act(const HeadAction &action) {
    if (const auto *setup = std::get_if<StartSetup>(&action)) {
        nodes_.ask_setup(setup->nodes);
        push();
    } else if (const auto *again = std::get_if<StartAgents>(&action)) {
        start_agents(again->nodes);
    } else if (const auto *start = std::get_if<StartGeneration>(&action)) {
        start_generation(*start);
    } else if (const auto *kill = std::get_if<KillRanks>(&action)) {
        note(fmt::format("attempt {}: killing generation {}", start_.attempt.value, kill->generation));
        nodes_.ask_kill(kill->generation);
        push();
    } else if (const auto *save = std::get_if<SendSave>(&action)) {
        nodes_.ask_save(save->generation, save->signal);
        push();
    } else if (const auto *evidence = std::get_if<CollectEvidence>(&action)) {
        nodes_.ask_evidence(evidence->generation);
        push();
    } else if (std::holds_alternative<PollCheckpoint>(action)) {
        poll_checkpoint();
    } else if (std::holds_alternative<LookAtWishes>(action)) {
        ring();
    } else if (const auto *choice = std::get_if<ChooseCheckpoint>(&action)) {
        choose(choice->facts);
    } else if (std::holds_alternative<WriteBeat>(action)) {
        write_beat();
    } else if (const auto *end = std::get_if<GenerationEnded>(&action)) {
        note(fmt::format("attempt {}: generation {} ended: {}", start_.attempt.value, end->generation, end->text));
    } else if (const auto *finish = std::get_if<Finish>(&action)) {
        outcome_ = finish->outcome;
        if (outcome_->kind != OutcomeKind::lease_lost)
            write_beat();
        nodes_.ask_bye();
        push();
    } else if (const auto *said = std::get_if<Note>(&action)) {
        note(fmt::format("attempt {}: {}: {}", start_.attempt.value, said->event, said->text));
    }
}

void HeadShell::start_generation(const StartGeneration &action) {
    if (action.generation > 1)
        resume_from_ = action.resume_from;
    if ((resume_from_ ? resume_from_->path : "") != in_use_)
        setup_.agents.trade.ledger.claim("a generation goes on from another checkpoint than was chosen");
    first_speaks_ = false;
    note(fmt::format("attempt {}: generation {} on {} nodes from {}", start_.attempt.value, action.generation, action.nodes.size(),
                     resume_from_ ? resume_from_->path : "the beginning"));
    for (std::size_t i = 0; i < action.nodes.size(); ++i) {
        StartSpec spec;
        spec.generation = action.generation;
        spec.nodes = static_cast<int>(action.nodes.size());
        spec.node_rank = static_cast<int>(i);
        spec.ranks_per_node = setup_.config.ranks_per_node;
        spec.command = {resume_from_ ? resume_from_->path : ""};
        nodes_.ask_start(action.nodes[i], std::move(spec));
    }
    push();
}

// srun: an agent comes up on each node that Slurm can reach.
void HeadShell::start_agents(const std::vector<std::string> &nodes) {
    auto &agents = setup_.agents;
    Job *job = agents.slurm.find(start_.job);
    bool all = job != nullptr;
    for (Host *host : job != nullptr ? job->nodes : std::vector<Host *>{}) {
        if (std::find(nodes.begin(), nodes.end(), host->name) == nodes.end())
            continue;
        all = all && agents.slurm.usable(*host);
        loop_.at(now() + loop_.between(100ms, 3s), [&agents, start = start_, host] {
            const Job *known = agents.slurm.find(start.job);
            if (known != nullptr && known->phase == JobPhase::running && known->restarts == start.restarts && agents.slurm.usable(*host))
                agents.start(start, *host);
        });
    }
    if (!all && loop_.chance(0.5))
        loop_.at(now() + loop_.between(1s, 60s), [self = weak_from_this()] {
            if (const auto shell = self.lock())
                shell->signal(StepEnded{"srun: error: Unable to create step"});
        });
}

void HeadShell::choose(const FailureFacts &facts) {
    looks_.add([this, facts] {
        const auto complete = setup_.checkpoints.complete_steps();
        const Instant from = now();
        auto choice = setup_.checkpoints.newest_complete(files_);
        setup_.chosen(from, complete, choice.newest);
        in_use_ = choice.newest ? choice.newest->path : "";
        const auto failure = setup_.judge ? std::optional{setup_.judge(facts)} : std::nullopt;
        post([this, newest = std::move(choice.newest), failure] { give(CheckpointChosen{newest, "", failure}); });
    });
}

void HeadShell::write_beat() {
    ProgressFile file;
    file.beat = ++beat_;
    file.generation = machine_->generation();
    file.step = machine_->progress().step;
    if (const auto &newest = machine_->checkpoint())
        file.checkpoint_step = newest->step;
    const Instant started = now();
    beats_.add([this, started, file] {
        const auto written = hooks_.beat(file);
        const EndWish end = hooks_.end_wish();
        const bool save = end == EndWish::none && hooks_.take_save_wish();
        post([this, started, written, end, save] {
            give(written && *written ? HeadInput{BeatWritten{started}} : HeadInput{BeatFailed{"x"}});
            if (written && !*written)
                give(Superseded{});
            take_wishes(end, save);
        });
    });
}

void HeadShell::poll_checkpoint() {
    polled_ = now();
    if (std::exchange(polling_, true))
        return;
    looks_.add([this] {
        setup_.checkpoints.remove_old(files_, setup_.keep, in_use_);
        auto newest = setup_.checkpoints.newest_complete(files_).newest;
        post([this, newest = std::move(newest)] {
            polling_ = false;
            give(CheckpointPolled{newest});
        });
    });
}

} // namespace trainctl::sim
