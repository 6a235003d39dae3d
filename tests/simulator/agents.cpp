#include "simulator/agents.h"

#include <algorithm>
#include <utility>

namespace trainctl::sim {

using namespace std::chrono_literals;

namespace {

constexpr Duration find_head_limit = 5min, progress_pause = 500ms, cancel_again = 30s;
constexpr int most_cancels = 120;
constexpr std::size_t most_reports_remembered = 64;

} // namespace

void Agents::start(const JobStart &start, Host &host) {
    ++started;
    trade.note("an agent starts on " + host.name);
    all.push_back(std::make_shared<Agent>(*this, start, host));
    all.back()->begin();
}

std::vector<std::shared_ptr<Agent>> Agents::on(const Host &host, const JobStart *start) const {
    std::vector<std::shared_ptr<Agent>> out;
    for (const auto &agent : all)
        if (&agent->host() == &host && agent->alive() && (start == nullptr || agent->job() == *start))
            out.push_back(agent);
    return out;
}

void Agents::node_died(const Host &host) {
    for (const auto &agent : all)
        if (&agent->host() == &host)
            agent->lost();
}

Agent::Agent(Agents &world, JobStart start, Host &host)
    : world_(world), start_(start), host_(host), id_(std::to_string(world.started)), started_(world.loop.now()) {}

void Agent::begin() {
    connect();
    tick();
}

void Agent::after(Duration delay, void (Agent::*what)()) {
    world_.loop.at(world_.loop.now() + delay, [self = shared_from_this(), what] {
        if (self->alive_)
            (self.get()->*what)();
    });
}

void Agent::connect() {
    if (ending_ || wire_)
        return;
    auto head = head_.lock();
    if (!head_known_) {
        const auto known = world_.heads.find(start_.attempt.value);
        head = known == world_.heads.end() ? nullptr : known->second.lock();
        head_ = head;
        head_known_ = head != nullptr;
    }
    if (!head || !reachable(host_, head->host(), world_.loop.now())) {
        if (!head_known_ || head) // one that is gone does not come back under its address
            after(world_.loop.between(100ms, 2s), &Agent::connect);
        return;
    }
    wire_ = std::make_shared<Wire>(world_.loop, host_, head->host());
    wire_->on_broken(Wire::End::agent, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self || !self->alive_)
            return;
        self->wire_.reset();
        self->after(100ms, &Agent::connect);
    });
    head->welcome(host_.name, wire_, shared_from_this());
    report();
}

void Agent::tick() {
    const Instant now = world_.loop.now();
    if (ending_)
        return;
    if (lease_.lost(now)) {
        if (ranks_)
            ranks_->kill();
        if (term_ && (!ranks_ || ranks_->dead()))
            return end();
        look_for_head();
    } else if (!lease_.granted() && now - started_ > find_head_limit) {
        return end();
    }
    if (now - last_report_ >= heartbeat())
        report();
    const Duration wait = lease_.held(now) ? std::clamp<Duration>(lease_.left(now), 1ms, heartbeat()) : std::min<Duration>(heartbeat(), 1s);
    after(wait, &Agent::tick);
}

void Agent::look_for_head() {
    switch (silent_head_.next(leave_limit(), world_.loop.now())) {
    case SilentHead::Next::wait: return;
    case SilentHead::Next::look:
        worker_ = world_.loop.spawn("look", [this, self = shared_from_this()] {
            HostFiles files{world_.loop, world_.disk, host_};
            const auto sign = look_at_head(files, world_.paths.attempt(start_.attempt), host_.name);
            world_.trade.note("the agent on " + host_.name + " looked at the beat of its head");
            silent_head_.seen(sign, world_.loop.now());
        });
        return;
    case SilentHead::Next::abandon:
        if (!std::exchange(abandoned_, true))
            worker_ = world_.loop.spawn("abandon", [this, self = shared_from_this()] { abandon(); });
        return;
    case SilentHead::Next::leave: return end();
    }
}

void Agent::abandon() {
    HostFiles files{world_.loop, world_.disk, host_};
    HostScheduler scheduler{world_.loop, world_.slurm, host_};
    if (!note_abandoned(files, world_.paths.attempt(start_.attempt), {host_.name, "the head is gone", 0}))
        return end();
    ++world_.abandoned;
    for (int tries = 0; tries < most_cancels && !ending_ && !lease_.held(world_.loop.now()); ++tries) {
        const auto cancelled = scheduler.cancel({start_.job});
        world_.trade.note("the agent on " + host_.name + (cancelled ? " cancelled the job of a head that is gone" : " could not cancel the job of a head that is gone"));
        world_.loop.sleep(cancel_again);
    }
    end();
}

void Agent::take(const Order &order) {
    for (const auto &[sequence, sent] : sent_) {
        if (sequence != order.answers || order.lease_ms <= 0)
            continue;
        lease_.renew(sent, std::chrono::milliseconds{order.lease_ms});
        silent_head_.heard();
        granted_until_ = std::max(granted_until_, sent + std::chrono::milliseconds{order.lease_ms});
        if (ranks_)
            ranks_->renew(granted_until_);
    }
    if (order.config && !config_)
        configure(*order.config);
    if (order.seen_generation == current_)
        seen_exits_ = std::max(seen_exits_, order.seen_exits);
    if (order.bye)
        return end();
    if (!config_ || ending_)
        return;
    if (order.setup && setup_ == SetupState::none) {
        setup_ = SetupState::running;
        after(world_.loop.between(world_.setup_least, world_.setup_most), &Agent::prepare);
    }
    if (order.kill_generation > killed_)
        kill_up_to(order.kill_generation);
    if (order.start && order.start->generation > std::max(current_, killed_))
        start_generation(*order.start);
    if (ranks_ && order.save_generation == current_ && saved_ < order.save_number) {
        saved_ = order.save_number;
        ranks_->save();
    }
    if (ranks_ && order.evidence_generation == current_ && evidence_asked_ < current_) {
        evidence_asked_ = current_;
        if (world_.loop.chance(0.9))
            after(world_.loop.between(100ms, 8s), &Agent::collect_evidence);
    }
}

void Agent::configure(const NodeConfig &config) {
    config_ = config;
    // By their mark: what earlier agents and attempts left here.
    for (const auto &other : world_.all)
        if (other.get() != this && &other->host() == &host_ && other->ranks() && other->job().attempt.value <= config.attempt)
            other->ranks()->kill();
}

void Agent::prepare() {
    setup_ = world_.loop.chance(world_.setup_fails) ? SetupState::failed : SetupState::ok;
    report();
}

void Agent::collect_evidence() {
    evidence_done_ = evidence_asked_;
    report();
}

void Agent::start_generation(const StartSpec &spec) {
    if (!lease_.held(world_.loop.now()) || setup_ != SetupState::ok || (ranks_ && !ranks_->dead()))
        return;
    current_ = spec.generation;
    seen_exits_ = reported_exits_ = 0;
    const SetKey key{start_.attempt.value, start_.job.value, start_.restarts, spec.generation};
    auto &training = world_.trainings[key];
    if (!training)
        training = std::make_shared<Training>(world_.trade, key, spec.command.front(), static_cast<std::size_t>(spec.nodes));
    ranks_ = std::make_shared<Ranks>(world_.trade, *training, host_, spec.node_rank);
    ranks_->start(granted_until_, [weak = weak_from_this()] {
        if (const auto self = weak.lock(); self && self->alive_)
            self->changed();
    });
    report();
}

void Agent::kill_up_to(int generation) {
    killed_ = generation;
    if (ranks_ && ranks_->generation() <= generation && !ranks_->dead())
        return ranks_->kill();
    sweep(generation);
}

void Agent::sweep(int generation) {
    const auto left = [this](const auto &other) {
        return other.get() != this && &other->host() == &host_ && other->job().attempt == start_.attempt && other->ranks() && other->ranks()->running();
    };
    if (current_ == 0 && std::any_of(world_.all.begin(), world_.all.end(), left)) {
        for (const auto &other : world_.all)
            if (left(other))
                other->ranks()->kill();
        world_.loop.at(world_.loop.now() + 20ms, [self = shared_from_this(), generation] {
            if (self->alive_)
                self->sweep(generation);
        });
        return;
    }
    dead_ = std::max(dead_, generation);
    report();
}

void Agent::changed() {
    const int number = ranks_->generation();
    if (ranks_->dead() && dead_ < number)
        dead_ = std::max(number, killed_);
    if (ranks_->exits().size() > reported_exits_ || dead_ > reported_dead_ || ranks_->doubtful())
        return report();
    if (!std::exchange(report_planned_, true))
        after(std::max<Duration>(0ms, last_report_ + progress_pause - world_.loop.now()), &Agent::report);
}

void Agent::report() {
    report_planned_ = false;
    last_report_ = world_.loop.now();
    Report out;
    out.sequence = ++sequence_;
    out.agent = id_;
    out.setup = setup_;
    out.generation = current_;
    out.dead_generation = dead_;
    out.term = term_;
    out.evidence_generation = evidence_done_;
    if (ranks_) {
        const auto &exits = ranks_->exits();
        out.exits.assign(exits.begin() + static_cast<std::ptrdiff_t>(std::min(seen_exits_, exits.size())), exits.end());
        reported_exits_ = exits.size();
        out.doubtful_generation = ranks_->doubtful() && dead_ < current_ ? current_ : 0;
        out.step = ranks_->step();
    }
    reported_dead_ = dead_;
    sent_.emplace_back(out.sequence, last_report_);
    if (sent_.size() > most_reports_remembered)
        sent_.pop_front();
    if (wire_)
        wire_->send(Wire::End::agent, [head = head_, node = host_.name, weak = std::weak_ptr{wire_}, out = std::move(out)] {
            const auto port = head.lock();
            const auto wire = weak.lock();
            if (port && wire)
                port->hear(node, wire, out);
        });
}

void Agent::term() {
    term_ = true;
    report();
    if (ranks_)
        ranks_->term();
}

// Ends once the ranks are dead.
void Agent::end() {
    if (std::exchange(ending_, true))
        return;
    if (ranks_)
        ranks_->kill();
    after(500ms, &Agent::die);
}

void Agent::die() {
    if (!alive_)
        return;
    alive_ = false;
    world_.trade.note("the agent on " + host_.name + " ends");
    if (worker_)
        world_.loop.kill(*worker_);
    if (wire_)
        wire_->close(Wire::End::agent);
    wire_.reset();
    if (ranks_)
        ranks_->kill();
}

void Agent::lost() {
    alive_ = false;
    if (worker_)
        world_.loop.kill(*worker_);
    wire_.reset(); // without a word
    if (ranks_)
        ranks_->lost();
}

} // namespace trainctl::sim
