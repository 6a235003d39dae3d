// The training as a whole: its steps and its saves.
#include "simulator/ranks.h"

#include "simulator/network.h"

#include <algorithm>
#include <fmt/format.h>

namespace trainctl::sim {

using namespace std::chrono_literals;

// One save, part by part; what a killed set had on its way may arrive after its death.
struct Training::Save {
    ModelState state;
    std::string folder;
    std::size_t done = 0;
};

void Training::join(const std::shared_ptr<Ranks> &ranks, int node_rank) {
    members_.at(static_cast<std::size_t>(node_rank)) = ranks;
    if (std::all_of(members_.begin(), members_.end(), [](const auto &member) { return member != nullptr; }))
        later(trade_.loop.between(200ms, 4s), &Training::load);
}

bool Training::all_run() const {
    return std::all_of(members_.begin(), members_.end(), [](const auto &member) { return member && member->running(); });
}

// Collective operations wait for every rank.
bool Training::in_touch() const {
    return std::all_of(members_.begin(), members_.end(), [this](const auto &member) {
        return reachable(member->host(), members_.front()->host(), trade_.loop.now());
    });
}

void Training::later(Duration delay, void (Training::*what)()) {
    trade_.loop.at(trade_.loop.now() + delay, [self = shared_from_this(), what] { (self.get()->*what)(); });
}

void Training::load() {
    if (!all_run() || failed_)
        return;
    if (const Instant cut = members_.front()->host().cut_until; trade_.loop.now() < cut)
        return later(cut - trade_.loop.now() + 10ms, &Training::load);
    if (!resume_from_.empty()) {
        const auto loaded = trade_.checkpoints.whole(resume_from_);
        if (!loaded)
            trade_.ledger.claim(to_string(key_) + " goes on from " + resume_from_ + ", which is not whole");
        else if (*loaded != undisturbed(loaded->step))
            trade_.ledger.claim(to_string(key_) + " goes on from a wrong state");
        state_ = loaded.value_or(ModelState{});
        last_saved_ = state_.step;
    }
    trade_.note(fmt::format("generation {} trains from step {}", key_.generation, state_.step));
    later(trade_.setting.step, &Training::go_on);
}

void Training::go_on() {
    auto &loop = trade_.loop;
    if (!all_run() || failed_ || hung_ || ends_)
        return;
    const bool waits = saving_ && (!trade_.setting.saves_beside || state_.step >= trade_.setting.total_steps);
    if (waits || !in_touch())
        return later(trade_.setting.step, &Training::go_on);
    if (state_.step >= trade_.setting.total_steps)
        return last_saved_ == state_.step ? finish() : (begin_save(), later(trade_.setting.step, &Training::go_on));
    state_ = trained_on(state_);
    shown_ = state_.step;
    members_.front()->progressed();
    if (loop.chance(trade_.setting.crash)) {
        ++trade_.crashes;
        const auto &member = members_[static_cast<std::size_t>(loop.between(Duration{0}, Duration{static_cast<long>(members_.size()) - 1}).count())];
        loop.chance(0.5) ? member->exit(0, 1, 0) : member->exit(0, 0, 11);
        return;
    }
    // Of one that is done the head waits for the end, however long an export takes.
    if (state_.step < trade_.setting.total_steps && loop.chance(trade_.setting.hang)) {
        ++trade_.hangs;
        trade_.note(fmt::format("generation {} hangs at step {}", key_.generation, state_.step));
        hung_ = true;
        return;
    }
    if (!saving_ && (save_wished_ || state_.step % trade_.setting.save_every == 0 || state_.step == trade_.setting.total_steps))
        begin_save();
    later(trade_.setting.step, &Training::go_on);
}

// The others see it by a collective operation that breaks, or wait for ever.
void Training::member_failed(const Ranks *) {
    if (std::exchange(failed_, true) || !trade_.loop.chance(0.6))
        return;
    for (const auto &member : members_)
        if (member && member->running())
            trade_.loop.at(trade_.loop.now() + trade_.loop.between(50ms, 5s), [member, count = trade_.setting.ranks_per_node] {
                for (int local = 0; local < count && member->running(); ++local)
                    member->exit(local, 1, 0);
            });
}

void Training::finish() {
    ends_ = true;
    trade_.note(fmt::format("generation {} ends at step {}", key_.generation, state_.step));
    for (const auto &member : members_)
        trade_.loop.at(trade_.loop.now() + trade_.loop.between(0ms, 2s), [member, count = trade_.setting.ranks_per_node] {
            for (int local = 0; local < count && member->running(); ++local)
                member->exit(local, 0, 0);
        });
}

Duration Training::part_time() { return trade_.loop.between(trade_.setting.save_least, trade_.setting.save_most); }

void Training::begin_save() {
    saving_ = true;
    ++trade_.saves;
    auto save = std::make_shared<Save>();
    save->state = state_;
    save->folder = trade_.checkpoints.draft(key_, state_.step);
    // What an earlier try left of this step is taken away before it is written again.
    write(save, 0, 1ms, [this, save](bool alive) {
        if (!alive)
            return;
        trade_.complete_since.erase(save->state.step);
        trade_.disk.remove_tree(save->folder);
        trade_.disk.folders.insert(save->folder);
        for (std::size_t member = 0; member < members_.size(); ++member)
            write_shard(save, member);
    });
}

// `what` happens on the disk: when the node's file system answers, and maybe though the rank is dead by then.
void Training::write(const std::shared_ptr<Save> &save, std::size_t member, Duration delay, std::function<void(bool alive)> what) {
    trade_.loop.at(trade_.loop.now() + delay, [self = shared_from_this(), save, member, what = std::move(what)] {
        constexpr Duration kept_in_flight = 10s;
        const auto &ranks = self->members_[member];
        const Instant now = self->trade_.loop.now();
        if (ranks->host().dead)
            return;
        if (const Instant cut = ranks->host().cut_until; now < cut)
            return self->write(save, member, cut - now + 10ms, what);
        if (ranks->running()) {
            self->trade_.ledger.writes(self->key_);
            what(true);
        } else if (now - ranks->died() < kept_in_flight && self->trade_.disk.folders.contains(save->folder) && self->trade_.loop.chance(0.5)) {
            ++self->trade_.late_writes;
            what(false);
        }
    });
}

void Training::write_shard(const std::shared_ptr<Save> &save, std::size_t member) {
    const auto path = save->folder + "/" + Checkpoints::shard_name(member);
    const auto content = Checkpoints::shard(key_, save->state, member, members_.size());
    // The file may be another's by now: then what is late goes to one that has no name any more.
    const auto put = [this, path](bool alive, const std::string &text) {
        const auto known = trade_.disk.files.find(path);
        if (alive || (known != trade_.disk.files.end() && Checkpoints::ours(key_, known->second)))
            trade_.disk.files[path] = text;
    };
    write(save, member, part_time() / 2, [this, save, member, put, content](bool alive) {
        put(alive, content.substr(0, content.size() / 2));
        write(save, member, part_time() / 2, [this, save, put, content](bool still_alive) {
            put(still_alive, content);
            if (still_alive)
                shard_done(save);
        });
    });
}

void Training::shard_done(const std::shared_ptr<Save> &save) {
    if (++save->done == members_.size() && all_run())
        write(save, 0, 1ms, [this, save](bool alive) {
            if (alive)
                seal(save);
        });
}

void Training::seal(const std::shared_ptr<Save> &save) {
    auto &files = trade_.disk.files;
    if (trade_.checkpoints.style() == SaveStyle::marker) {
        files[save->folder + "/COMPLETE"] = "";
        return saved(save);
    }
    const auto path = save->folder + "/MANIFEST";
    const auto text = Checkpoints::manifest(key_, save->state, members_.size());
    files[path] = text.substr(0, text.size() / 2);
    write(save, 0, part_time() / 4, [this, save, path, text](bool alive) {
        const auto known = trade_.disk.files.find(path);
        if (!alive && (known == trade_.disk.files.end() || known->second != text.substr(0, text.size() / 2)))
            return;
        trade_.disk.files[path] = text;
        if (alive && trade_.checkpoints.style() == SaveStyle::renamed)
            trade_.disk.rename_tree(save->folder, trade_.checkpoints.path(save->state.step));
        if (alive)
            saved(save);
    });
}

void Training::saved(const std::shared_ptr<Save> &save) {
    saving_ = false;
    trade_.note(fmt::format("generation {} saved step {}", key_.generation, save->state.step));
    last_saved_ = save->state.step;
    trade_.complete_since[save->state.step] = trade_.loop.now();
    // At the end it ends anyway, with a save of its last step.
    if (std::exchange(save_wished_, false) && trade_.setting.ends_after_signal && state_.step < trade_.setting.total_steps)
        finish();
}

} // namespace trainctl::sim
