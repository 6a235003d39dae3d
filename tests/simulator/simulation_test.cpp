#include "simulator/scenario.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <future>
#include <map>
#include <string_view>

using namespace trainctl;
using trainctl::sim::Findings;
using trainctl::sim::run_scenario;

namespace {

std::uint64_t number(const char *name, std::uint64_t otherwise) {
    const char *set = std::getenv(name);
    const std::string_view text = set != nullptr ? set : "";
    std::uint64_t value = otherwise;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

struct Sum {
    std::uint64_t schedules = 0, effects = 0, attempts = 0, generations = 0, crashes = 0, hangs = 0, saves = 0, late_writes = 0, doubled = 0, abandoned = 0, waited = 0, rulings = 0;
    std::map<std::string, std::uint64_t> ends;
    std::map<std::uint64_t, std::vector<std::string>> broken; // by seed
    std::uint64_t broken_seeds = 0;

    void add(std::uint64_t seed, const Findings &found) {
        constexpr std::uint64_t shown = 20;
        ++schedules;
        ++ends[found.end];
        effects += found.effects;
        attempts += static_cast<std::uint64_t>(found.attempts);
        generations += static_cast<std::uint64_t>(found.training_starts);
        crashes += found.crashes;
        hangs += found.hangs;
        saves += found.saves;
        late_writes += found.late_writes;
        doubled += found.same_name_twice;
        abandoned += found.abandoned;
        rulings += found.rulings;
        waited += found.waited_for_limit;
        if (!found.broken.empty() && ++broken_seeds <= shown)
            broken[seed] = found.broken;
    }
    void add(const Sum &other) {
        schedules += other.schedules;
        effects += other.effects;
        attempts += other.attempts;
        generations += other.generations;
        crashes += other.crashes;
        hangs += other.hangs;
        saves += other.saves;
        late_writes += other.late_writes;
        doubled += other.doubled;
        abandoned += other.abandoned;
        rulings += other.rulings;
        waited += other.waited;
        broken_seeds += other.broken_seeds;
        for (const auto &[end, count] : other.ends)
            ends[end] += count;
        broken.insert(other.broken.begin(), other.broken.end());
    }
};

// Schedules share nothing: each thread takes every n-th seed.
Sum run_all(std::uint64_t first, std::uint64_t count, std::uint64_t threads) {
    std::vector<std::future<Sum>> parts;
    for (std::uint64_t part = 0; part < threads; ++part)
        parts.push_back(std::async(std::launch::async, [=] {
            Sum sum;
            for (std::uint64_t seed = first + part; seed < first + count; seed += threads)
                sum.add(seed, run_scenario(seed));
            return sum;
        }));
    Sum all;
    for (auto &part : parts)
        all.add(part.get());
    return all;
}

} // namespace

// TRAINCTL_SIM_SEED=<n>: that schedule alone, with a trace. TRAINCTL_SIM_COUNT=<n>: that many schedules, from
// TRAINCTL_SIM_FIRST on, by TRAINCTL_SIM_THREADS threads.
TEST_CASE("protocol: never two sets of ranks, never a lost run, whatever fails") {
    if (const auto seed = number("TRAINCTL_SIM_SEED", 0); seed != 0) {
        const Findings found = run_scenario(seed, true);
        for (const auto &text : found.broken)
            FAIL_CHECK(text);
        MESSAGE(found.end << ", " << found.attempts << " attempts, " << found.jobs << " jobs, " << found.training_starts << " generations");
        return;
    }
    const auto count = number("TRAINCTL_SIM_COUNT", 10'000);
    const auto begin = std::chrono::steady_clock::now();
    const Sum sum = run_all(number("TRAINCTL_SIM_FIRST", 1), count, std::max<std::uint64_t>(1, number("TRAINCTL_SIM_THREADS", 2)));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    for (const auto &[seed, texts] : sum.broken)
        for (const auto &text : texts)
            FAIL_CHECK("seed " << seed << ": " << text);
    auto ends = sum.ends;
    MESSAGE(fmt::format("{} schedules in {:.1f} s: {} attempts, {} generations, {} crashes, {} hangs, {} rulings, {} saves, {} writes of dead ranks, "
                        "{} effects; {} finished, {} stopped, {} failed; {} times two live jobs of one name, "
                        "{} times a job ended by its agents, {} by its time limit alone; {} broken",
                        sum.schedules, took.count(), sum.attempts, sum.generations, sum.crashes, sum.hangs, sum.rulings, sum.saves, sum.late_writes,
                        sum.effects, ends["finished"], ends["stopped"], ends["failed"], sum.doubled, sum.abandoned, sum.waited, sum.broken_seeds));
    CHECK(sum.broken_seeds == 0);
    CHECK(sum.generations > count); // otherwise nothing was restarted and nothing was shown
}

TEST_CASE("protocol: a seed replays exactly") {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        CAPTURE(seed);
        const Findings one = run_scenario(seed), two = run_scenario(seed);
        CHECK(one.digest == two.digest);
        CHECK(one.effects == two.effects);
        CHECK(one.end == two.end);
    }
}
