#include "simulator/scenario.h"

#include "base/process.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <map>

using namespace trainctl;
using trainctl::sim::Findings;
using trainctl::sim::run_scenario;

namespace {

std::uint64_t number(const char *name, std::uint64_t otherwise) {
    const auto text = own_variable(name);
    std::uint64_t value = otherwise;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

} // namespace

// TRAINCTL_SIM_SEED=<n>: that schedule alone, with a trace. TRAINCTL_SIM_COUNT=<n>: that many schedules.
TEST_CASE("protocol: never two sets of ranks, never a lost run, whatever fails") {
    if (const auto seed = number("TRAINCTL_SIM_SEED", 0); seed != 0) {
        const Findings found = run_scenario(seed, true);
        for (const auto &text : found.broken)
            FAIL_CHECK(text);
        MESSAGE(found.end << ", " << found.attempts << " attempts, " << found.jobs << " jobs");
        return;
    }
    const auto count = number("TRAINCTL_SIM_COUNT", 10'000);
    const auto first = number("TRAINCTL_SIM_FIRST", 1);
    const auto begin = std::chrono::steady_clock::now();
    std::map<std::string, std::uint64_t> ends;
    std::uint64_t effects = 0, starts = 0, attempts = 0, doubled = 0, broken = 0;
    for (std::uint64_t seed = first; seed < first + count && broken < 10; ++seed) {
        const Findings found = run_scenario(seed);
        for (const auto &text : found.broken)
            FAIL_CHECK("seed " << seed << ": " << text);
        broken += found.broken.empty() ? 0 : 1;
        ++ends[found.end];
        effects += found.effects;
        starts += static_cast<std::uint64_t>(found.training_starts);
        attempts += static_cast<std::uint64_t>(found.attempts);
        doubled += found.same_name_twice;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    MESSAGE(fmt::format("{} schedules in {:.1f} s: {} effects, {} attempts, {} starts of training, {} finished, {} stopped, "
                        "{} times two live jobs of one name",
                        count, took.count(), effects, attempts, starts, ends["finished"], ends["stopped"], doubled));
    CHECK(starts > count); // otherwise nothing was restarted and nothing was shown
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
