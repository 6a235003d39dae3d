#include "agent/stall.h"

#include "experiment/values.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// No silence that is longer than usual by less than this is a stall. PyTorch itself gives up a collective after 10 minutes by default, so a pause
// in which one rank works and the others wait (the usual evaluation and checkpoint) is shorter than that, or its user
// has raised PyTorch's limit and knows the pause.
constexpr Duration shortest_wait = 10min;
// And of a training that tells about its pauses (an activity was seen): what is left are steps, a slow file system
// and a data loader that starts again.
constexpr Duration shortest_wait_of_declared = 5min;
// A wait is this many times the usual one, which is 4 standard deviations where steps spread by half (lognormal), but
// not more than start-up's allowance beyond it ...
constexpr int usual_factor = 8;
// ... and of the longest one seen:
constexpr int few_factor = 5;       // while few were seen (and at least start-up's allowance): that is no bound yet
constexpr std::int64_t few = 20;
constexpr int once_factor = 2;      // once: it may have been an accident
constexpr int again_factor = 3;     // twice: it recurs, and grows (longer sequences, more data to evaluate)
// The first signs of a generation have start-up's allowance: compilation, autotuning, caches, the first batch.
constexpr int warm_signs = 3;
// A declared activity has it too until it ended twice.
constexpr int familiar = 2;
// 30 minutes of start-up become 4 hours; whoever hangs longer than that at one place hangs.
constexpr int most_patience = 8;
constexpr std::size_t most_gaps = 64;       // for the usual time between steps
constexpr std::size_t most_activities = 16; // a training that numbers its activities gets one in common

std::string for_people(Duration time) {
    const double seconds = std::chrono::duration<double>(time).count();
    return seconds >= 1 && seconds < 10 ? fmt::format("{:.1f} s", seconds) : human_duration(time);
}

} // namespace

Result<StallSetting> stall_setting(const Health &health) {
    StallSetting out;
    out.startup = health.startup_timeout;
    if (health.stall_timeout == "auto")
        return out;
    if (health.stall_timeout == "off") {
        out.mode = StallSetting::Mode::off;
        return out;
    }
    const auto fixed = parse_duration(health.stall_timeout);
    if (!fixed)
        return fixed.error();
    out.mode = StallSetting::Mode::fixed;
    out.fixed = *fixed;
    return out;
}

void StallWatch::begin(Instant now) {
    note_stall(now);
    begun_ = life_ = now;
    sign_.reset();
    step_.reset();
    activity_.clear();
    signs_ = 0;
    longest_warm_ = Duration::zero();
}

// Nobody tells us that a generation was stopped for a stall, but its silence does.
void StallWatch::note_stall(Instant now) {
    const auto end = deadline();
    if (!end || now < *end)
        return;
    patience_ = std::min(2 * patience_, most_patience);
    const bool further = !stalled_ || !stalled_->step || (step_ && *step_ > *stalled_->step);
    if (further)
        stalled_ = Stalled{step_, signs_};
}

void StallWatch::progress(std::optional<std::int64_t> step, const std::string &activity, Instant now) {
    const std::string plain = activity == "training" || activity == "train" ? "" : activity;
    const bool other_activity = plain != activity_;
    const bool news = step ? step != step_ : plain.empty();
    if (!begun_ || (!news && !other_activity))
        return;
    // The announcement of an activity ends no step: how long it took is not learned.
    if (news || !activity_.empty())
        learn(now - sign_.value_or(*begun_), other_activity);
    if (signs_ == 0)
        longest_start_ = std::max(longest_start_, now - *begun_);
    if (plain != "startup" && news)
        ++signs_;
    ever_progress_ = true;
    sign_ = life_ = now;
    activity_ = plain;
    if (step)
        step_ = step;
    if (stalled_ && (stalled_->step ? step_ && *step_ > *stalled_->step : signs_ > stalled_->signs)) {
        stalled_.reset();
        patience_ = 1;
    }
}

void StallWatch::checkpoint_seen(Instant now) {
    if (begun_)
        life_ = now;
}

void StallWatch::shift(Duration by) {
    for (auto *instant : {&begun_, &life_, &sign_})
        if (*instant)
            **instant += by;
}

void StallWatch::learn(Duration gap, bool activity_ends) {
    if (activity_ == "startup")
        return;
    if (!activity_.empty()) {
        const bool room = pauses_.count(activity_) != 0 || pauses_.size() < most_activities;
        auto &pauses = pauses_[room ? activity_ : "others"];
        pauses.longest = std::max(pauses.longest, gap);
        pauses.ended += activity_ends ? 1 : 0;
    } else if (signs_ < warm_signs) {
        longest_warm_ = std::max(longest_warm_, gap);
    } else {
        learn_usual(gap);
    }
}

void StallWatch::learn_usual(Duration gap) {
    gaps_.push_back(gap);
    if (gaps_.size() > most_gaps)
        gaps_.pop_front();
    ++gaps_seen_;
    second_longest_ = std::max(second_longest_, std::min(gap, longest_));
    longest_ = std::max(longest_, gap);
}

Duration StallWatch::usual() const {
    const Duration shortest = pauses_.empty() ? shortest_wait : shortest_wait_of_declared;
    if (gaps_seen_ < few)
        return std::max({setting_.startup, shortest + longest_, few_factor * longest_, again_factor * longest_warm_});
    const Duration out = std::max({shortest + second_longest_, once_factor * longest_, again_factor * second_longest_});
    if (usual_factor * longest_ <= out)
        return out;
    const Duration typical = step_time();
    return std::max(out, std::min(usual_factor * typical, typical + setting_.startup));
}

Duration StallWatch::allowance() const {
    if (!sign_ || activity_ == "startup")
        return std::max({usual(), setting_.startup, once_factor * longest_start_});
    if (!activity_.empty()) {
        auto known = pauses_.find(activity_);
        if (known == pauses_.end() && pauses_.size() >= most_activities)
            known = pauses_.find("others");
        const Pauses pauses = known == pauses_.end() ? Pauses{} : known->second;
        const Duration shortest = pauses.ended < familiar ? setting_.startup : shortest_wait;
        return std::max({usual(), shortest, again_factor * pauses.longest});
    }
    if (signs_ < warm_signs)
        return std::max({usual(), setting_.startup, again_factor * longest_warm_});
    return usual();
}

std::optional<Instant> StallWatch::deadline() const {
    if (!begun_ || setting_.mode == StallSetting::Mode::off)
        return std::nullopt;
    // What the user said is meant exactly, but for the start, which no time between steps is made for.
    if (setting_.mode == StallSetting::Mode::fixed)
        return *life_ + (sign_ ? setting_.fixed : std::max(setting_.fixed, setting_.startup));
    if (!ever_progress_ && !setting_.expects_steps)
        return std::nullopt;
    return *life_ + patience_ * allowance();
}

std::optional<Instant> StallWatch::last_deadline() const {
    const auto end = deadline();
    return end ? std::optional{std::max(*end, *life_ + most_patience * setting_.startup)} : std::nullopt;
}

Duration StallWatch::step_time() const {
    std::vector<Duration> sorted(gaps_.begin(), gaps_.end());
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
}

std::string StallWatch::why(Instant now) const {
    if (!begun_)
        return "nothing was started";
    const std::string silent = for_people(now - *life_);
    if (!sign_)
        return fmt::format("no first step for {} after {}", silent, life_ == begun_ ? "the start" : "a checkpoint");
    const std::string after = step_ ? fmt::format(" after step {}", *step_) : "";
    if (!activity_.empty()) {
        const auto known = pauses_.find(activity_);
        const auto before = known == pauses_.end() ? std::string{"never seen before"}
                                                   : "so far " + for_people(known->second.longest) + " at most";
        return fmt::format("no progress for {} in {}{} ({})", silent, activity_, after, before);
    }
    const auto usually = !gaps_.empty() ? fmt::format(" (new ones came every {})", for_people(step_time()))
                         : signs_ <= warm_signs ? std::string{" (of the first ones)"} : "";
    return fmt::format("no new {} for {}{}{}", step_ ? "step" : "sign of progress", silent, after, usually);
}

} // namespace trainctl
