// One thread's events: descriptors, timers, signals, and calls from other threads. A thin coat over Boost.Asio, so
// that its headers are in one file only.
#pragma once

#include "base/clock.h"

#include <cstdint>
#include <functional>
#include <memory>

namespace trainctl {

class Loop {
public:
    using Call = std::function<void()>;
    using Timer = std::uint64_t; // 0: none

    Loop();
    ~Loop();
    Loop(const Loop &) = delete;
    Loop &operator=(const Loop &) = delete;

    void run(); // until stop()
    void stop();

    Timer at(Instant when, Call call);
    Timer after(Duration wait, Call call) { return at(std::chrono::steady_clock::now() + wait, std::move(call)); }
    void cancel(Timer &timer); // and sets it to none

    void on_signal(int signal, Call call); // each time it comes
    void when_readable(int fd, Call call); // each time there is something to read, or the end; until forget(fd)
    void when_writable(int fd, Call call); // once
    void forget(int fd);                   // before close(fd)

    void post(Call call); // from any thread; in order

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace trainctl
