#include "agent/head_watch.h"

#include "agent/spawn.h"
#include "base/text.h"

#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration cancel_again = 30s; // the controller may be silent just then, and nobody else would ask
constexpr int most_cancels = 120;

Instant now() { return std::chrono::steady_clock::now(); }

} // namespace

void HeadWatch::silent() {
    switch (head_.next(setting_.lease, now())) {
    case SilentHead::Next::wait: return;
    case SilentHead::Next::look:
        return worker_.add([this, dir = setting_.attempt_dir, node = setting_.node] {
            PosixFiles files;
            const auto sign = look_at_head(files, dir, node);
            loop_.post([this, sign] { head_.seen(sign, now()); });
        });
    case SilentHead::Next::abandon: return std::exchange(abandoned_, true) ? void() : abandon();
    case SilentHead::Next::leave:
        setting_.log("nothing heard of the head, which may live: leaving");
        return setting_.leave();
    }
}

void HeadWatch::abandon() {
    const auto why = fmt::format("the head is gone: no beat of it for {:.0f} s", std::chrono::duration<double>(now() - *head_.since()).count());
    worker_.add([this, why, dir = setting_.attempt_dir, node = setting_.node] {
        PosixFiles files;
        auto noted = note_abandoned(files, dir, {node, why, unix_seconds(std::chrono::system_clock::now())});
        loop_.post([this, why, noted] {
            setting_.log(why + (noted ? "; the job is cancelled" : "; the job is left: " + noted.error().text()));
            noted ? cancel_job(0) : setting_.leave();
        });
    });
}

// Until Slurm ends us with the job.
void HeadWatch::cancel_job(int tries) {
    if (setting_.needless())
        return;
    if (tries >= most_cancels)
        return setting_.leave();
    SpawnSpec cancel{{setting_.scancel, setting_.job}, own_environment()};
    if (!setting_.slurm_conf.empty())
        cancel.environment["SLURM_CONF"] = setting_.slurm_conf;
    if (const auto started = spawn(cancel); !started)
        return setting_.leave();
    loop_.after(cancel_again, [this, tries] { cancel_job(tries + 1); });
}

} // namespace trainctl
