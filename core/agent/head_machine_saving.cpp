// Saves that were asked for: before an end, and for `checkpoint-now`.
#include "agent/head_machine.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

// Before the limit, for killing and writing.
constexpr Duration limit_margin = 10s;
// For looking what the newest checkpoint is before a save is asked for.
constexpr Duration baseline_limit = 1s;
// Between the first and the last rank that ends with its save.
constexpr Duration exits_after_save = 10s;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

} // namespace

void HeadMachine::take_checkpoint(const CheckpointPolled &in, Instant now, Actions &out) {
    if (in.newest && (!checkpoint_ || in.newest->step > checkpoint_->step))
        stall_.checkpoint_seen(now);
    if (in.newest)
        checkpoint_ = in.newest;
    if (phase_ != HeadPhase::saving && !(phase_ == HeadPhase::training && now_.save_only))
        return;
    if (!now_.baseline_known) {
        now_.baseline_known = true;
        now_.baseline = in.newest;
        send_save_when_known(now, out);
    } else if (save_awaited()) {
        find_save(in.newest, now, out);
        if (!save_awaited() && phase_ == HeadPhase::saving)
            begin_kill(now_.kind, "", now, out);
    }
}

bool HeadMachine::save_awaited() const { return now_.save_sent && now_.save_text.empty(); }

void HeadMachine::find_save(const std::optional<CheckpointSeen> &newest, Instant now, Actions &out) {
    if (!newest || (now_.baseline && newest->step <= now_.baseline->step))
        return;
    const double took = seconds(now - *now_.saved_since);
    now_.save_text = fmt::format("saved step {} in {:.1f} s", newest->step, took);
    now_.save_over = now + exits_after_save;
    out.emplace_back(Note{"saved", now_.save_text, {{"step", newest->step}, {"path", newest->path}, {"took_s", took}}});
}

// `checkpoint-now`: training goes on afterwards, in a new generation where it ends with the save.
void HeadMachine::wish_save(Instant now, Actions &out) {
    if (config_.save_signal.empty()) {
        out.emplace_back(Note{"save_refused", "checkpoint.save_signal is not set: this training can't save when asked to"});
    } else if (phase_ != HeadPhase::training) {
        out.emplace_back(Note{"save_refused", fmt::format("no ranks train now, the attempt is {}", to_string(phase_))});
    } else if (!now_.save_only || !now_.save_text.empty()) {
        now_.save_only = true;
        now_.save_sent = now_.baseline_known = false;
        now_.save_text.clear();
        now_.save_over.reset();
        now_.baseline_by = now + baseline_limit;
        out.emplace_back(PollCheckpoint{});
    }
}

void HeadMachine::advance_save_only(Instant now, Actions &out) {
    if (now_.baseline_by && now >= *now_.baseline_by) {
        now_.baseline_by.reset();
        now_.baseline_known = true;
        now_.baseline = checkpoint_;
        send_save(now, out);
    }
    if (save_awaited() && now >= *now_.saved_since + config_.save_time) {
        now_.save_text = fmt::format("no newer checkpoint {:.0f} s after the save was asked for", seconds(now - *now_.saved_since));
        now_.save_over = now;
        out.emplace_back(Note{"save_missing", now_.save_text});
    }
    if (!now_.save_over || now < *now_.save_over || all_exited())
        return;
    now_.save_only = now_.save_sent = false;
    now_.save_over.reset();
    if (now_.first)
        begin_kill(OutcomeKind::rank_failed, "", now, out);
}

void HeadMachine::begin_save(OutcomeKind kind, Instant now, Actions &out) {
    now_.term_verdict_at.reset();
    now_.evidence_by.reset(); // a hang that is looked into: the save's own deadline ends it
    enter(HeadPhase::saving, now, now + config_.save_time + baseline_limit);
    now_.kind = kind;
    now_.save_text.clear();
    if (config_.limit)
        deadline_ = kind == OutcomeKind::time_limit ? std::max(now + 1s, *config_.limit - limit_margin)
                                                    : std::min(deadline_, *config_.limit - limit_margin);
    // What is complete before the save is asked for tells its checkpoint from one that was written anyway.
    now_.baseline_known = now_.save_sent = now_.save_only = false;
    now_.wishes_known = true;
    now_.save_over.reset();
    now_.baseline_by = now + baseline_limit;
    out.emplace_back(PollCheckpoint{});
}

void HeadMachine::send_save_when_known(Instant now, Actions &out) {
    if (!now_.baseline_by || !now_.baseline_known || !now_.wishes_known)
        return;
    now_.baseline_by.reset();
    send_save(now, out);
}

void HeadMachine::send_save(Instant now, Actions &out) {
    if (std::exchange(now_.save_sent, true))
        return;
    now_.saved_since = now;
    now_.save_was_asked = true;
    out.emplace_back(SendSave{generation_, config_.save_signal});
}

} // namespace trainctl
