// A thread for calls that may hang (a file system that does not answer), one after the other, so that whoever asks
// never does. A thread that hangs is left behind: what it runs must own all that it uses.
#pragma once

#include "base/clock.h"

#include <functional>
#include <memory>

namespace trainctl {

class Worker {
public:
    Worker();
    ~Worker(); // does not wait
    void add(std::function<void()> job);
    bool drain(Duration limit) const; // true: nothing is left to do

private:
    struct State;
    std::shared_ptr<State> state_;
};

} // namespace trainctl
