// A head that is gone with its node leaves a job behind that Slurm may keep running (--no-kill takes the node out of it), so
// that no standby starts. An agent on a node that is left ends the job then, on this evidence alone: the head's beat, on
// the shared file system, stood still for a lease, and by then a head that lives has killed its ranks itself.
#pragma once

#include "base/clock.h"
#include "base/files.h"
#include "base/result.h"
#include "run/records.h"

#include <cstdint>
#include <optional>
#include <string>

namespace trainctl {

struct HeadSign {
    std::uint64_t beat = 0;  // what the head's beat file holds, as a number that changes with it
    bool last_word = false;  // an outcome is there: its head's, or that of an earlier start of the job
    bool operator==(const HeadSign &) const = default;
};

// Nothing: it can't be read. Both functions may hang as long as the file system does.
std::optional<HeadSign> look_at_head(Files &files, const std::string &attempt_dir, const std::string &node);

// Leaves abandoned.json, so that nobody takes the scancel that follows for the user's wish.
Result<void> note_abandoned(Files &files, const std::string &attempt_dir, const Abandoned &record);

// What an agent makes of a head that it does not hear, by looking at its beat once a lease. Pure.
class SilentHead {
public:
    enum class Next {
        wait,
        look,     // and tell seen()
        abandon,  // it is gone: end its job
        leave,    // it may live, and this node is cut off from it for good
    };

    Next next(Duration lease, Instant now);
    void seen(const std::optional<HeadSign> &sign, Instant now);
    void heard() { *this = SilentHead{}; }
    std::optional<Instant> since() const { return since_; }

private:
    std::optional<Instant> since_, looked_; // silent; when the look was asked for that seen() answers
    std::optional<HeadSign> sign_;
    Instant sign_since_;                    // it is what it was then
    bool looking_ = false;
};

} // namespace trainctl
