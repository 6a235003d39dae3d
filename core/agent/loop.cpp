#include "agent/loop.h"

#include "base/invariant.h"

#include <utility> // Boost 1.74 forgets it

// GCC 12 sees null pointers in Asio's scheduler once it is inlined here.
#pragma GCC diagnostic ignored "-Wnull-dereference"
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <vector>

namespace trainctl {

namespace asio = boost::asio;
using Failure = boost::system::error_code;

namespace {

struct Watch {
    Watch(asio::io_context &context, int fd) : descriptor(context, fd) {}
    ~Watch() { release(); }
    void release() {
        if (descriptor.is_open())
            descriptor.release(); // the descriptor is the caller's; what waits on it is cancelled
    }
    asio::posix::stream_descriptor descriptor;
    Loop::Call on_read, on_write;
    bool reading = false;
};

void wait_readable(const std::shared_ptr<Watch> &watch) {
    watch->reading = true;
    watch->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, [watch](const Failure &failure) {
        watch->reading = false;
        if (failure || !watch->descriptor.is_open())
            return;
        const auto call = watch->on_read; // it may forget the descriptor, and so itself
        call();
        if (watch->descriptor.is_open())
            wait_readable(watch);
    });
}

} // namespace

struct Loop::State {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
    std::map<int, std::shared_ptr<Watch>> watches;
    std::map<Timer, std::unique_ptr<asio::steady_timer>> timers;
    std::vector<std::unique_ptr<asio::signal_set>> signals;
    Timer next_timer = 1;

    Watch &watch(int fd) {
        auto &slot = watches[fd];
        if (!slot)
            slot = std::make_shared<Watch>(context, fd);
        return *slot;
    }
    static void wait_signal(asio::signal_set &set, const Call &call) {
        set.async_wait([&set, call](const Failure &failure, int) {
            if (failure)
                return;
            call();
            wait_signal(set, call);
        });
    }
};

Loop::Loop() : state_(std::make_unique<State>()) {}
Loop::~Loop() = default;

void Loop::run() { state_->context.run(); }
void Loop::stop() { state_->context.stop(); }

Loop::Timer Loop::at(Instant when, Call call) {
    const Timer id = state_->next_timer++;
    auto &timer = state_->timers[id] = std::make_unique<asio::steady_timer>(state_->context, when);
    timer->async_wait([this, id, call = std::move(call)](const Failure &failure) {
        if (failure || state_->timers.erase(id) == 0)
            return;
        call();
    });
    return id;
}

void Loop::cancel(Timer &timer) { state_->timers.erase(std::exchange(timer, 0)); }

void Loop::on_signal(int signal, Call call) {
    state_->signals.push_back(std::make_unique<asio::signal_set>(state_->context, signal));
    State::wait_signal(*state_->signals.back(), call);
}

void Loop::when_readable(int fd, Call call) {
    auto &watch = state_->watch(fd);
    watch.on_read = std::move(call);
    if (!watch.reading)
        wait_readable(state_->watches.at(fd));
}

void Loop::when_writable(int fd, Call call) {
    state_->watch(fd).on_write = std::move(call);
    const auto watch = state_->watches.at(fd);
    watch->descriptor.async_wait(asio::posix::stream_descriptor::wait_write, [watch](const Failure &failure) {
        if (failure || !watch->descriptor.is_open())
            return;
        if (const auto once = std::exchange(watch->on_write, nullptr))
            once();
    });
}

void Loop::forget(int fd) {
    const auto found = state_->watches.find(fd);
    if (found == state_->watches.end())
        return;
    found->second->release();
    state_->watches.erase(found);
}

void Loop::post(Call call) { asio::post(state_->context, std::move(call)); }

} // namespace trainctl
