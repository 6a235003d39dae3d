// What a process does that found a slot taken which it cannot see: NFS shows other hosts' new names late. Waits
// through the Clock, and not for ever.
#pragma once

#include "base/clock.h"

#include <string>

namespace trainctl {

class TakenSlot {
public:
    // Publishing `path` found another's file. False: it has been hidden from our looks for `patience`.
    bool wait(Clock &clock, const std::string &path, Duration poll, Duration patience) {
        if (path != path_) { // our own link() made the client look anew: mostly the next look shows it
            path_ = path;
            since_ = clock.now();
            return true;
        }
        if (clock.now() - since_ >= patience)
            return false;
        clock.sleep_for(poll);
        return true;
    }

private:
    std::string path_;
    Instant since_{};
};

} // namespace trainctl
