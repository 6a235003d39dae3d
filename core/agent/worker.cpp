#include "agent/worker.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace trainctl {

struct Worker::State {
    std::mutex mutex;
    std::condition_variable wake, idle;
    std::deque<std::function<void()>> jobs;
    bool stop = false, busy = false;

    void run() {
        std::unique_lock lock{mutex};
        for (;;) {
            wake.wait(lock, [this] { return stop || !jobs.empty(); });
            if (stop)
                return;
            auto job = std::move(jobs.front());
            jobs.pop_front();
            busy = true;
            lock.unlock();
            job();
            job = nullptr;
            lock.lock();
            busy = false;
            idle.notify_all();
        }
    }
};

Worker::Worker() : state_(std::make_shared<State>()) {
    std::thread{[state = state_] { state->run(); }}.detach();
}

Worker::~Worker() {
    const std::lock_guard lock{state_->mutex};
    state_->stop = true;
    state_->wake.notify_all();
}

void Worker::add(std::function<void()> job) {
    const std::lock_guard lock{state_->mutex};
    state_->jobs.push_back(std::move(job));
    state_->wake.notify_one();
}

bool Worker::drain(Duration limit) const {
    std::unique_lock lock{state_->mutex};
    return state_->idle.wait_for(lock, limit, [this] { return state_->jobs.empty() && !state_->busy; });
}

} // namespace trainctl
