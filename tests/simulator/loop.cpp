#include "simulator/loop.h"

#include "base/invariant.h"

#include <exception>
#include <utility>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace trainctl::sim {

namespace {

constexpr std::size_t stack_size = 256u << 10; // ASan's frames are large

// Stacks are used again by later actors: making one costs more than a whole schedule's events.
class Stacks {
public:
    std::unique_ptr<char[]> take() {
        if (free_.empty())
            return std::make_unique<char[]>(stack_size);
        auto stack = std::move(free_.back());
        free_.pop_back();
        return stack;
    }
    void give(std::unique_ptr<char[]> stack) { free_.push_back(std::move(stack)); }

private:
    std::vector<std::unique_ptr<char[]>> free_;
};

Stacks &stacks() {
    static thread_local Stacks all; // a schedule is run by one thread
    return all;
}

} // namespace

struct Loop::Actor {
    std::string name;
    std::function<void()> body;
    std::unique_ptr<char[]> stack;
    ucontext_t context{}, back{};
    bool started = false, done = false, dying = false, waiting = false;
    std::uint64_t ticket = 0;
    int dies_after = -1; // effects
    Loop *loop = nullptr;
    // What AddressSanitizer has to know when stacks change.
    void *fake_stack = nullptr;
    const void *back_bottom = nullptr;
    std::size_t back_size = 0;

    static void enter(unsigned high, unsigned low) {
        const auto bits = (static_cast<std::uintptr_t>(high) << 32) | low;
        auto *actor = reinterpret_cast<Actor *>(bits); // NOLINT: makecontext passes ints only
        actor->after_switch_in();
        try {
            if (!actor->dying)
                actor->body();
        } catch (const Killed &) {
        }
        actor->done = true;
        actor->before_switch_out(true);
        swapcontext(&actor->context, &actor->back);
    }

    void before_switch_out([[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(last ? nullptr : &fake_stack, back_bottom, back_size);
#endif
    }
    void after_switch_in() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake_stack, &back_bottom, &back_size);
#endif
    }
};

Loop::Loop(std::uint64_t seed) : now_(std::chrono::hours{1}), random_(seed) {}

Loop::~Loop() { kill_all(); }

void Loop::kill_all() {
    for (ActorId id = 0; id < actors_.size(); ++id)
        kill(id);
}

Loop::ActorId Loop::spawn(std::string name, std::function<void()> body) {
    auto actor = std::make_unique<Actor>();
    actor->name = std::move(name);
    actor->body = std::move(body);
    actor->loop = this;
    actors_.push_back(std::move(actor));
    resume_at(now_, actors_.size() - 1);
    return actors_.size() - 1;
}

void Loop::at(Instant when, std::function<void()> what) { queue_.push({when, sequence_++, npos, 0, std::move(what)}); }

void Loop::resume_at(Instant when, ActorId id) { queue_.push({when, sequence_++, id, ++actors_[id]->ticket, nullptr}); }

void Loop::run_until(Instant end) {
    while (!queue_.empty() && queue_.top().when <= end) {
        Entry entry = std::move(const_cast<Entry &>(queue_.top())); // NOLINT: popped at once, and its order is not what moves
        queue_.pop();
        now_ = entry.when;
        if (entry.actor == npos)
            entry.what();
        else if (actors_[entry.actor]->ticket == entry.ticket)
            resume(entry.actor);
    }
    now_ = std::max(now_, end);
}

void Loop::resume(ActorId id) {
    Actor &actor = *actors_[id];
    if (actor.done)
        return;
    if (!actor.started) {
        actor.started = true;
        actor.stack = stacks().take();
        getcontext(&actor.context);
        actor.context.uc_stack.ss_sp = actor.stack.get();
        actor.context.uc_stack.ss_size = stack_size;
        actor.context.uc_link = nullptr;
        const auto bits = reinterpret_cast<std::uintptr_t>(&actor);
        makecontext(&actor.context, reinterpret_cast<void (*)()>(&Actor::enter), 2, static_cast<unsigned>(bits >> 32),
                    static_cast<unsigned>(bits & 0xffffffffu));
    }
    const ActorId before = current_;
    current_ = id;
    actor.waiting = false;
#if defined(__SANITIZE_ADDRESS__)
    void *own_fake = nullptr;
    __sanitizer_start_switch_fiber(&own_fake, actor.stack.get(), stack_size);
#endif
    swapcontext(&actor.back, &actor.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(own_fake, nullptr, nullptr);
#endif
    current_ = before;
    if (actor.done && actor.stack) {
        stacks().give(std::move(actor.stack));
        actor.body = nullptr;
    }
}

void Loop::yield() {
    Actor &actor = *actors_[current_];
    actor.before_switch_out(false);
    swapcontext(&actor.context, &actor.back);
    actor.after_switch_in();
    if (actor.dying)
        throw Killed{};
}

void Loop::sleep(Duration duration) {
    INVARIANT(current_ != npos);
    if (actors_[current_]->dying) // destructors that run while it dies must not wait
        return;
    resume_at(now_ + duration, current_);
    yield();
}

void Loop::wait_until(Instant when) {
    INVARIANT(current_ != npos);
    if (actors_[current_]->dying)
        return;
    resume_at(std::max(when, now_), current_);
    actors_[current_]->waiting = true;
    yield();
}

void Loop::wake(ActorId id) {
    if (std::exchange(actors_[id]->waiting, false))
        resume_at(now_, id);
}

void Loop::kill(ActorId id) {
    Actor &actor = *actors_[id];
    if (actor.done || actor.dying)
        return;
    actor.dying = true;
    if (id == current_)
        throw Killed{};
    if (!actor.started)
        actor.done = true;
    else
        resume(id);
}

void Loop::effect() {
    ++effects;
    Actor &actor = *actors_[current_];
    if (actor.dies_after >= 0 && actor.dies_after-- == 0)
        kill(current_);
}

void Loop::plan_death(ActorId id, int effects_from_now) { actors_[id]->dies_after = effects_from_now; }

bool Loop::alive(ActorId id) const { return !actors_[id]->done && !actors_[id]->dying; }

bool Loop::chance(double probability) { return std::uniform_real_distribution<>{}(random_) < probability; }

Duration Loop::between(Duration least, Duration most) {
    return Duration{std::uniform_int_distribution<Duration::rep>{least.count(), most.count()}(random_)};
}

} // namespace trainctl::sim
