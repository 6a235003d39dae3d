// What a head does while the run directory can't be written.
#include "unit/recovery/attempt_cluster.h"

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

// A disk that is full until a time, for all files or for those of one name.
class FullDisk final : public Files {
public:
    FullDisk(Clock &clock, std::string name = "") : clock_(clock), name_(std::move(name)) {}
    Instant until{};

    Result<bool> make_dir(const std::string &path) override { return when_there_is_space(path, [&] { return real_.make_dir(path); }); }
    Result<void> make_dirs(const std::string &path) override { return when_there_is_space(path, [&] { return real_.make_dirs(path); }); }
    Result<std::optional<std::string>> read(const std::string &path) override { return real_.read(path); }
    Result<void> write(const std::string &path, std::string_view text) override { return when_there_is_space(path, [&] { return real_.write(path, text); }); }
    Result<bool> publish(const std::string &path, std::string_view text) override { return when_there_is_space(path, [&] { return real_.publish(path, text); }); }
    Result<void> append(const std::string &path, std::string_view text) override { return when_there_is_space(path, [&] { return real_.append(path, text); }); }
    Result<std::vector<std::string>> list(const std::string &path) override { return real_.list(path); }
    Result<void> rename(const std::string &from, const std::string &to) override { return real_.rename(from, to); }
    Result<void> remove(const std::string &path) override { return real_.remove(path); }

private:
    template <class What> auto when_there_is_space(const std::string &path, What what) -> decltype(what()) {
        if (clock_.now() < until && (name_.empty() || base_name(path) == name_))
            return Error{ErrorKind::no_space, "no space left on device", path, ""};
        return what();
    }

    PosixFiles real_;
    Clock &clock_;
    const std::string name_;
};

struct Disk {
    Cluster c;
    SlurmClock clock{c.slurm};
    FullDisk files;
    World world{files, c.slurm, clock, "job 1"};

    explicit Disk(const std::string &name = "") : files(clock, name) { c.submit(); }
};

} // namespace

TEST_CASE("attempt: a disk that is full for a while at its beginning delays an attempt and does not end it") {
    for (const auto *name : {"claim", "progress.json", ""}) {
        CAPTURE(name);
        Disk disk{name};
        disk.files.until = disk.clock.now() + 5min;
        CHECK(disk.c.head(disk.world, disk.c.attempt_job(1), [&](const TrainHooks &hooks) {
            CHECK(disk.clock.now() >= disk.files.until);
            CHECK(hooks.checked >= disk.files.until); // the lease counts from the check that succeeded
            return outcome_of(OutcomeKind::finished);
        }) == 0);
        CHECK(disk.c.ended()->kind == EndKind::finished);
    }
}

TEST_CASE("attempt: a disk that stays full ends the job with an exit code that goes on") {
    Disk disk;
    disk.files.until = disk.clock.now() + 24h;
    const auto begun = disk.clock.now();
    CHECK(disk.c.head(disk.world, disk.c.attempt_job(1), [](const TrainHooks &) -> Outcome { FAIL("trained without a claim"); return {}; }) == exit_go_on);
    CHECK(disk.clock.now() - begun < disk.c.limits.disk_patience + 1min);
}

TEST_CASE("attempt: an end that can't be written is no end: the standby stays, and finds out what the head left") {
    for (const Duration full : {Duration{5min}, Duration{24h}}) {
        const bool in_time = full == Duration{5min};
        CAPTURE(in_time);
        Disk disk{"ended.json"};
        const int code = disk.c.head(disk.world, disk.c.attempt_job(1), [&](const TrainHooks &) {
            disk.files.until = disk.clock.now() + full;
            return outcome_of(OutcomeKind::finished, 10);
        });
        CHECK(code == (in_time ? 0 : exit_go_on));
        CHECK(disk.c.ended().has_value() == in_time);
        CHECK(disk.c.state(2) == (in_time ? "CANCELLED" : "RUNNING"));
        if (!in_time) // its own disk is well
            disk.c.head(2, [](const TrainHooks &) -> Outcome { FAIL("trained a finished run again"); return {}; });
        CHECK(disk.c.ended()->kind == EndKind::finished);
    }
}
