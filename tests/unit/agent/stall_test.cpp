#include "agent/stall.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

const Instant start{1000h};

StallSetting automatic(bool expects = true) {
    StallSetting out;
    out.expects_steps = expects;
    return out;
}

StallSetting fixed(Duration time) {
    StallSetting out;
    out.mode = StallSetting::Mode::fixed;
    out.fixed = time;
    return out;
}

// A training in virtual time: each move lets time pass and says whether the watch would have called that a stall.
struct Training {
    explicit Training(StallSetting setting) : watch(setting) { watch.begin(now); }

    bool quiet(Duration time) {
        const auto end = watch.deadline();
        now += time;
        const bool stalled = end && now >= *end;
        alarms += stalled ? 1 : 0;
        return !stalled;
    }
    bool next_step(Duration time, std::int64_t by = 1, const std::string &activity = "") {
        const bool fine = quiet(time);
        watch.progress(step += by, activity, now);
        return fine;
    }
    bool declare(const std::string &activity) {
        const bool fine = quiet(10ms);
        watch.progress(step, activity, now);
        return fine;
    }
    void restart(std::int64_t from, Duration pause = 1s) {
        now += pause;
        step = from;
        watch.begin(now);
    }
    void steps(int count, Duration time) {
        for (int i = 0; i < count; ++i)
            next_step(time);
    }
    Duration wait() const { return *watch.deadline() - now; }

    StallWatch watch;
    Instant now = start;
    std::int64_t step = 0;
    int alarms = 0;
};

Duration scaled(Duration time, double by) { return std::chrono::duration_cast<Duration>(time * by); }

// What a random training is like; pauses that it does not declare are up to 5 minutes in all, as documented less than the
// shortest wait, and everything at the start is shorter than start-up's allowance.
struct Habit {
    explicit Habit(std::mt19937_64 &random) {
        const auto pick = [&](double from, double to) { return std::uniform_real_distribution<double>{from, to}(random); };
        step_time = scaled(1s, std::exp(pick(std::log(0.02), std::log(300.0))));
        log_every = step_time < 3s ? (pick(0, 1) < 0.3 ? 100 : pick(0, 1) < 0.5 ? 10 : 1) : 1;
        spread = pick(0, 0.5);
        first_step = scaled(1min, pick(0, 25));
        declares = pick(0, 1) < 0.5;
        evaluate_every = static_cast<int>(pick(5, 200));
        evaluation = scaled(1min, declares ? pick(0, 25) : pick(0, 3));
        save_every = static_cast<int>(pick(5, 100));
        save = scaled(1min, pick(0, 2));
    }
    Duration step_time, first_step, evaluation, save;
    int log_every = 1, evaluate_every = 0, save_every = 0;
    double spread = 0;
    bool declares = false;
};

// One generation of it, with `count` lines about steps; the longest silence of it.
Duration live(Training &training, const Habit &habit, int count, std::mt19937_64 &random) {
    std::lognormal_distribution<double> noise{0, habit.spread};
    training.quiet(habit.first_step);
    training.watch.progress(training.step, "", training.now); // "going on from step ..."
    Duration longest = Duration::zero();
    for (int i = 1; i <= count; ++i) {
        Duration gap = scaled(habit.step_time * habit.log_every, noise(random));
        if (i % habit.save_every == 0)
            gap += habit.save;
        if (i % habit.evaluate_every == 0) {
            if (habit.declares) {
                training.declare("evaluation");
                training.quiet(habit.evaluation);
                training.watch.progress(training.step, "", training.now);
            } else {
                gap += habit.evaluation;
            }
        }
        if (i % 50 == 0) { // suspended for an hour
            training.now += 1h;
            training.watch.shift(1h);
        }
        if (i % habit.save_every == 0) {
            training.quiet(gap / 2);
            training.watch.checkpoint_seen(training.now);
            training.next_step(gap - gap / 2, habit.log_every);
        } else {
            training.next_step(gap, habit.log_every);
        }
        longest = std::max(longest, gap);
    }
    return longest;
}

} // namespace

TEST_CASE("stall: the setting is what the experiment says") {
    Health health;
    CHECK(stall_setting(health)->mode == StallSetting::Mode::automatic);
    CHECK(stall_setting(health)->startup == 30min);
    health.stall_timeout = "off";
    CHECK(stall_setting(health)->mode == StallSetting::Mode::off);
    health.stall_timeout = "90s";
    CHECK(stall_setting(health)->mode == StallSetting::Mode::fixed);
    CHECK(stall_setting(health)->fixed == 90s);
    health.stall_timeout = "soon";
    CHECK_FALSE(stall_setting(health));
}

TEST_CASE("stall: off means never, and so does nothing started") {
    StallSetting off;
    off.mode = StallSetting::Mode::off;
    off.expects_steps = true;
    Training training{off};
    training.steps(100, 1s);
    CHECK_FALSE(training.watch.deadline());
    CHECK_FALSE(StallWatch{automatic()}.deadline());
}

TEST_CASE("stall: a fixed time holds from the first step on, start-up's allowance before") {
    Training training{fixed(20s)};
    CHECK(training.wait() == 30min);
    training.next_step(29min);
    CHECK(training.wait() == 20s);
    training.quiet(5s);
    training.watch.progress(training.step, "", training.now); // the same again: no sign
    CHECK(training.wait() == 15s);
    training.watch.checkpoint_seen(training.now);
    CHECK(training.wait() == 20s);
    training.restart(0);
    CHECK(training.wait() == 30min);
    CHECK(Training{fixed(2h)}.wait() == 2h);
}

TEST_CASE("stall: one that never says anything never stalls, unless its experiment says that it will") {
    Training silent{automatic(false)};
    silent.quiet(100h);
    CHECK_FALSE(silent.watch.deadline());
    silent.watch.checkpoint_seen(silent.now);
    CHECK_FALSE(silent.watch.deadline());
    silent.restart(0);
    CHECK_FALSE(silent.watch.deadline());

    Training spoke{automatic(false)};
    spoke.steps(30, 1s);
    spoke.restart(0);
    CHECK(spoke.wait() == 30min);

    CHECK(Training{automatic(true)}.wait() == 30min);
}

TEST_CASE("stall: the first steps have start-up's allowance, in each generation") {
    Training training{automatic()};
    for (int generation = 0; generation < 2; ++generation) {
        CAPTURE(generation);
        training.next_step(20min, 0); // "going on from step 0"
        CHECK(training.wait() >= 30min);
        CHECK(training.next_step(29min)); // compiles
        CHECK(training.next_step(1s));
        training.steps(100, 1s);
        CHECK(training.wait() == 10min + 1s);
        training.restart(0);
    }
    CHECK(training.alarms == 0);
}

TEST_CASE("stall: a start that took longer than its allowance is waited for in the next generation too") {
    Training training{automatic(false)};
    CHECK(training.next_step(50min)); // nothing was expected yet
    CHECK(training.wait() == 150min);
    training.restart(0);
    CHECK(training.wait() == 100min);
}

TEST_CASE("stall: slow first steps are a measure until others are known") {
    StallSetting setting = automatic();
    setting.startup = 50min;
    Training training{setting};
    for (int i = 0; i < 10; ++i) {
        CAPTURE(i);
        CHECK(training.next_step(40min));
        CHECK(training.wait() >= 120min);
    }
}

TEST_CASE("stall: a hang is found after the shortest wait where steps are short") {
    Training training{automatic()};
    training.steps(1000, 1200ms);
    CHECK(training.wait() == 10min + 1200ms);
    CHECK(training.watch.why(training.now + 250s) == "no new step for 4 m 10 s after step 1000 (new ones came every 1.2 s)");
    CHECK_FALSE(training.quiet(10min + 2s));
}

TEST_CASE("stall: long steps are waited for in proportion, also by one that logs each 100 steps") {
    Training training{automatic()};
    for (int i = 0; i < 50; ++i)
        CHECK(training.next_step(20min, 100));
    CHECK(training.wait() == 60min);
    training.restart(0);
    CHECK(training.wait() == 60min);
}

TEST_CASE("stall: one very long silence weighs less than two") {
    Training training{automatic()};
    training.steps(100, 1s);
    training.watch.checkpoint_seen(training.now + 590s);
    training.next_step(20min); // a checkpoint in the middle: alive
    CHECK(training.wait() == 40min);
    training.next_step(20min);
    CHECK(training.wait() == 60min);
}

TEST_CASE("stall: a declared evaluation has its own allowance, and others get shorter by it") {
    Training training{automatic()};
    training.steps(100, 1s);
    training.declare("evaluation");
    CHECK(training.wait() == 30min);
    CHECK(training.watch.why(training.now + 31min) == "no progress for 31 m 00 s in evaluation after step 100 (never seen before)");
    training.next_step(25min);
    CHECK(training.wait() == 5min + 1s);
    training.steps(100, 1s);
    training.declare("evaluation");
    CHECK(training.wait() == 75min);
    training.next_step(1min);
    training.declare("checkpoint");
    CHECK(training.wait() == 30min);
    training.declare("training"); // as good as none
    CHECK(training.wait() == 5min + 1s);
    training.declare("startup");
    CHECK(training.wait() == 30min);
}

TEST_CASE("stall: steps within an evaluation do not make it familiar, and it keeps its name") {
    Training training{automatic()};
    training.steps(100, 1s);
    training.declare("evaluation");
    for (int i = 0; i < 50; ++i)
        training.next_step(1s, 1, "evaluation");
    CHECK(training.wait() == 30min);
}

TEST_CASE("stall: the same step again is no sign of life, whatever else a line says") {
    Training training{automatic()};
    training.steps(100, 1s);
    const auto before = training.watch.deadline();
    training.watch.progress(training.step, "", training.now + 5min);
    CHECK(training.watch.deadline() == before);
    training.declare("evaluation");
    const auto evaluating = training.watch.deadline();
    training.watch.progress(training.step, "evaluation", training.now + 5min);
    training.watch.progress(std::nullopt, "evaluation", training.now + 6min);
    CHECK(training.watch.deadline() == evaluating);
}

TEST_CASE("stall: signs without steps are learned like steps") {
    Training training{automatic()};
    for (int i = 0; i < 50; ++i) {
        CHECK(training.quiet(5min));
        training.watch.progress(std::nullopt, "", training.now);
    }
    CHECK(training.wait() == 35min); // 5 and start-up's
    CHECK(training.watch.why(training.now + 16min) == "no new sign of progress for 16 m 00 s (new ones came every 5 m 00 s)");
}

TEST_CASE("stall: a suspended job loses nothing of its time") {
    Training training{automatic()};
    training.steps(100, 1s);
    training.quiet(9min);
    training.now += 3h;
    training.watch.shift(3h);
    CHECK(training.wait() == 1min + 1s);
    CHECK(training.next_step(30s));
    CHECK(training.wait() == 18min + 60s); // 9.5 minutes, once
}

TEST_CASE("stall: a pause that was taken for a hang is waited for longer and longer, and passes") {
    for (const bool has_steps : {true, false}) {
        CAPTURE(has_steps);
        Training training{automatic()};
        int stalls = 0;
        const auto sign = [&](Duration time) {
            const bool fine = training.quiet(time);
            if (fine)
                training.watch.progress(has_steps ? std::optional{++training.step} : std::nullopt, "", training.now);
            return fine;
        };
        // Each generation begins at step 0 and meets an undeclared evaluation of 45 minutes after step 100.
        for (bool passed = false; !passed; ++stalls) {
            REQUIRE(stalls < 5);
            for (int i = 0; i < 100; ++i)
                REQUIRE(sign(1s));
            passed = sign(45min);
            if (passed)
                break;
            training.restart(0);
        }
        CHECK(stalls == 3); // 10, 20, 40 minutes
        CHECK(training.wait() == 90min);
        for (int i = 0; i < 200; ++i)
            CHECK(sign(1s));
    }
}

TEST_CASE("stall: after a real hang that the next generation got beyond, the wait is what it was") {
    Training training{automatic()};
    for (int hang = 0; hang < 10; ++hang) {
        CAPTURE(hang);
        training.steps(hang == 0 ? 200 : 100, 1s);
        CHECK(training.wait() == 10min + 1s);
        CHECK_FALSE(training.quiet(10min + 8s));
        training.restart(training.step - 50);
        training.steps(50, 1s);
        CHECK(training.wait() == 20min + 2s); // at the same place
        training.next_step(1s);
        CHECK(training.wait() == 10min + 1s);
    }
}

TEST_CASE("stall: the place to get beyond is the furthest one where it stalled") {
    Training training{automatic()};
    training.steps(100, 1s);
    training.restart(0, 11min);
    training.restart(0, 61min); // and now it did not even start
    training.steps(100, 1s);
    CHECK(training.wait() == 40min + 4s);
    training.next_step(1s);
    CHECK(training.wait() == 10min + 1s);
}

TEST_CASE("stall: start-ups that hang are waited for at most eight times as long") {
    Training training{automatic()};
    for (const auto expected : {30min, 60min, 120min, 240min, 240min}) {
        CHECK(training.wait() == expected);
        training.restart(0, expected);
    }
    training.next_step(1s);
    training.steps(30, 1s);
    CHECK(training.wait() == 10min + 1s);
}

TEST_CASE("stall: activities with numbers in their names are bounded") {
    Training training{automatic()};
    training.steps(10, 1s);
    for (int i = 0; i < 1000; ++i) {
        training.declare("shard " + std::to_string(i));
        CHECK(training.quiet(29min));
        training.next_step(1s, 1, "");
    }
    CHECK(training.alarms == 0);
    training.declare("shard 1000");
    CHECK(training.wait() >= 87min);
}

TEST_CASE("stall: heavy tails make no alarm while they stay within the shortest wait or grow as they did") {
    std::mt19937_64 random{7};
    int alarms = 0;
    for (int trace = 0; trace < 200; ++trace) {
        Training training{automatic()};
        std::uniform_real_distribution<double> uniform{0, 1};
        for (int i = 0; i < 1000; ++i) // Pareto, index 2: a hundred times the shortest, now and then
            training.next_step(scaled(500ms, 1 / std::sqrt(1 - uniform(random))));
        alarms += training.alarms;
    }
    CHECK(alarms == 0);
}

TEST_CASE("stall: what comes last may take hours, but not for ever") {
    Training training{automatic()};
    training.steps(100, 1s);
    CHECK(training.wait() < 15min);
    CHECK(*training.watch.last_deadline() - training.now == 4h); // 8 times health.startup_timeout
    Training slow{automatic()};
    slow.steps(100, 3h);
    CHECK(slow.watch.last_deadline() == slow.watch.deadline());
    Training meant{fixed(1min)};
    meant.steps(3, 1s);
    CHECK(*meant.watch.last_deadline() - meant.now == 4h);
    StallSetting off;
    off.mode = StallSetting::Mode::off;
    CHECK(!Training{off}.watch.last_deadline());
}

TEST_CASE("stall: no false alarm over 10,000 random trainings, and each real hang is found in bounded time") {
    int alarms = 0, late = 0;
    for (std::uint64_t seed = 1; seed <= 10000; ++seed) {
        std::mt19937_64 random{seed};
        const Habit habit{random};
        Training training{automatic(seed % 2 == 0)};
        const int count = 30 + static_cast<int>(seed % 60);
        Duration longest = live(training, habit, count, random);
        training.restart(0);
        longest = std::max(longest, live(training, habit, count, random));
        if (training.alarms > 0) {
            MESSAGE("seed ", seed, ": ", training.alarms, " alarms; ", training.watch.why(training.now));
            ++alarms;
        }
        // It hangs now: found 10 minutes after what is usual, or after 8 times the longest silence between steps that it ever showed.
        const bool found = training.watch.deadline() && training.wait() <= std::max<Duration>(10min + longest, 8 * longest) &&
                           training.wait() >= 5min;
        late += found ? 0 : 1;
        CHECK_MESSAGE(found, "seed ", seed);
    }
    CHECK(alarms == 0);
    CHECK(late == 0);
}
