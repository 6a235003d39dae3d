// The ranks of a generation: they load a checkpoint, train in step with each other, save part by part, crash, hang, and
// die when their guard kills them. Those on one node are Ranks, and all of them together a Training.
#pragma once

#include "run/records.h"
#include "simulator/checkpoints.h"

#include <functional>
#include <memory>

namespace trainctl::sim {

// What this user's training is like, and what befalls it.
struct TrainingSetting {
    int total_steps = 60, save_every = 10, ranks_per_node = 1;
    Duration step{}, save_least{}, save_most{}; // of a step, and of each part of a save
    bool saves_beside = false;    // training goes on meanwhile
    bool ends_after_signal = true;// with 0, when the save that it was asked for is done
    bool dies_of_term = true;
    double crash = 0, hang = 0;   // at each step
};

struct Trade { // of all ranks of a schedule
    Loop &loop;
    Ledger &ledger;
    Checkpoints &checkpoints;
    Disk &disk;
    TrainingSetting setting;
    std::function<void(const std::string &)> note;
    std::map<int, Instant> complete_since = {}; // checkpoints by step
    std::uint64_t crashes = 0, hangs = 0, saves = 0, late_writes = 0;
};

class Training;

// On one node, with their guard.
class Ranks : public std::enable_shared_from_this<Ranks> {
public:
    Ranks(Trade &trade, Training &training, Host &host, int node_rank);

    void start(Instant lease_end, std::function<void()> on_change);
    void renew(Instant lease_end) { lease_end_ = std::max(lease_end_, lease_end); }
    void kill();
    void save();  // the save signal
    void term();  // Slurm's SIGTERM
    void lost();  // with their node
    void exit(int local_rank, int code, int signal);
    void progressed() { changed(); }

    bool running() const { return running_; }   // runs code
    bool dead() const { return dead_; }         // and is no more
    bool doubtful() const { return doubtful_; } // was killed, and is still there
    const std::vector<RankExit> &exits() const { return exits_; }
    std::optional<std::int64_t> step() const;
    Host &host() const { return host_; }
    Instant died() const { return died_; }
    int generation() const;

private:
    void watch_lease();
    void stop(bool all_gone);
    void changed();

    Trade &trade_;
    Training &training_; // lives as long as the schedule
    Host &host_;
    int node_rank_;
    Instant lease_end_{}, started_{}, died_{};
    std::function<void()> on_change_;
    std::vector<RankExit> exits_;
    bool running_ = false, dead_ = false, doubtful_ = false, killing_ = false;
};

class Training : public std::enable_shared_from_this<Training> {
public:
    Training(Trade &trade, SetKey key, std::string resume_from, std::size_t nodes)
        : trade_(trade), key_(key), resume_from_(std::move(resume_from)), members_(nodes) {}

    void join(const std::shared_ptr<Ranks> &ranks, int node_rank);
    void member_failed(const Ranks *who); // a rank of it ended, or all were killed
    void wish_save() { save_wished_ = true; }

    const SetKey &key() const { return key_; }
    std::optional<std::int64_t> step() const { return shown_; }

private:
    struct Save;

    bool all_run() const;
    bool in_touch() const;
    void later(Duration delay, void (Training::*what)());
    void load();
    void go_on();
    void begin_save();
    void write(const std::shared_ptr<Save> &save, std::size_t member, Duration delay, std::function<void(bool alive)> what);
    void write_shard(const std::shared_ptr<Save> &save, std::size_t member);
    void shard_done(const std::shared_ptr<Save> &save);
    void seal(const std::shared_ptr<Save> &save);
    void saved(const std::shared_ptr<Save> &save);
    void finish();
    Duration part_time();

    Trade &trade_;
    const SetKey key_;
    const std::string resume_from_;
    std::vector<std::shared_ptr<Ranks>> members_;
    ModelState state_;
    std::optional<std::int64_t> shown_;
    bool saving_ = false, save_wished_ = false, ends_ = false, failed_ = false, hung_ = false;
    int last_saved_ = -1;
};

} // namespace trainctl::sim
