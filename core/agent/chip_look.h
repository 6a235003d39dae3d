// A second look at a node's chips, after ranks failed in a way that chips may have to do with: what befell them since the node was
// looked at before. By the same tools, in a process, and for 2 s at most; what they do not say by then is not known.
#pragma once

#include "agent/node_preflight.h"
#include "agent/sight.h"
#include "run/records.h"

#include <functional>
#include <memory>
#include <set>

namespace trainctl {

// By a rank's last words, and how it ended: most failures are an exception or a kill, and must not be waited for. Pure.
bool chips_may_have_to_do_with(const RankExit &exit);

class ChipLook {
public:
    struct Setting {
        std::string program, node;
        PreflightSpec spec;   // of the look before: it found nothing bad
        std::function<void()> on_done;
        Duration limit = std::chrono::seconds{2};
    };

    ChipLook(Loop &loop, LogWriter &logs, Setting setting);

    void start(int generation); // again: nothing happens
    void child_ended(pid_t pid, int status);
    void kill();
    // Adds what was found, and whether it still looks.
    void tell(Sight &sight);

private:
    void done(const PreflightResult &result);

    Loop &loop_;
    LogWriter &logs_;
    Setting setting_;
    std::unique_ptr<NodePreflight> look_;
    std::vector<Observation> found_; // of `generation_`
    std::set<std::string> told_;     // of any
    int generation_ = 0;
};

} // namespace trainctl
