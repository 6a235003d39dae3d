// What an agent does about a head that it does not hear: it looks at the head's beat once a lease, and ends the job where that
// stands still. abandon.h decides; the hands are here. Calls come from the loop's thread.
#pragma once

#include "agent/abandon.h"
#include "agent/loop.h"
#include "agent/worker.h"

#include <functional>

namespace trainctl {

class HeadWatch {
public:
    struct Setting {
        std::string attempt_dir, node, job, scancel, slurm_conf;
        Duration lease{};
        std::function<bool()> needless; // the head is heard again, or the agent ends: the job is not cancelled once more
        std::function<void(const std::string &)> log;
        std::function<void()> leave;    // nothing more can be done from here
    };
    // The loop and the worker outlive it.
    HeadWatch(Loop &loop, Worker &worker, Setting setting) : loop_(loop), worker_(worker), setting_(std::move(setting)) {}

    void silent(); // as often as one likes, while nothing is heard
    void heard() { head_.heard(); }

private:
    void abandon();
    void cancel_job(int tries);

    Loop &loop_;
    Worker &worker_;
    const Setting setting_;
    SilentHead head_;
    bool abandoned_ = false;
};

} // namespace trainctl
