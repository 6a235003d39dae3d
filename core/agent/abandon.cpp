#include "agent/abandon.h"

#include "run/view.h"

#include <functional>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// After its last word a head has its successor made, which may take as long as the controller is silent.
constexpr Duration last_word_limit = 15min;
// Until then a head that moves may be found again, and one that stops moving has its job ended.
constexpr Duration silence_limit = 30min;

} // namespace

std::optional<HeadSign> look_at_head(Files &files, const std::string &attempt_dir, const std::string &node) {
    // A change of our own makes an NFS client look at the folder anew.
    if (!files.write(join_path(attempt_dir, "watched-by." + node), "the head was not heard\n"))
        return std::nullopt;
    const auto outcome = files.read(join_path(attempt_dir, "outcome.json"));
    const auto beat = files.read(join_path(attempt_dir, "progress.json"));
    if (!outcome || !beat || !*beat)
        return std::nullopt;
    return HeadSign{std::hash<std::string>{}(**beat), outcome->has_value()};
}

Result<void> note_abandoned(Files &files, const std::string &attempt_dir, const Abandoned &record) {
    // That another node was first is as good.
    const auto written = publish_record_file(files, join_path(attempt_dir, "abandoned.json"), record);
    return written ? Result<void>{} : Result<void>{written.error()};
}

SilentHead::Next SilentHead::next(Duration lease, Instant now) {
    if (!since_)
        since_ = now;
    // Looked at twice, a lease apart, and the same.
    const bool stands = sign_ && !looking_ && *looked_ - sign_since_ >= lease;
    if (stands && (!sign_->last_word || now - *since_ >= last_word_limit))
        return Next::abandon;
    if (now - *since_ >= silence_limit)
        return Next::leave;
    if (looking_ || (looked_ && now - *looked_ <= lease))
        return Next::wait;
    looking_ = true;
    looked_ = now;
    return Next::look;
}

void SilentHead::seen(const std::optional<HeadSign> &sign, Instant now) {
    looking_ = false;
    if (sign && sign_ == sign)
        return;
    sign_ = sign;
    sign_since_ = now;
}

} // namespace trainctl
