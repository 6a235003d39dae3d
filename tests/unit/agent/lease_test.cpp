#include "agent/lease.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {
const Instant zero{};
}

TEST_CASE("lease: counts from the moment given, and older news never shortens it") {
    Lease lease;
    CHECK(!lease.granted());
    CHECK(!lease.held(zero));
    CHECK(!lease.lost(zero)); // never held: nothing to lose
    lease.renew(zero + 10s, 30s);
    CHECK(lease.held(zero + 39s));
    CHECK(lease.left(zero + 15s) == 25s);
    CHECK(lease.lost(zero + 40s));
    CHECK(lease.left(zero + 41s) == 0s);
    lease.renew(zero + 5s, 30s); // an answer that came late
    CHECK(lease.held(zero + 39s));
    lease.renew(zero + 41s, 30s);
    CHECK(lease.held(zero + 70s));
}

TEST_CASE("lease: delays between head and agent only shorten the agent's") {
    // The head wrote its beat at 100 s; the agent asked at 105 s, the head answered at 112 s, the answer came at 119 s.
    Lease head, agent;
    head.renew(zero + 100s, 30s);
    agent.renew(zero + 105s, head.left(zero + 112s));
    REQUIRE(agent.granted());
    CHECK(*agent.end() <= *head.end());
    CHECK(agent.lost(zero + 123s));
}

TEST_CASE("lease: a suspended job keeps what was left") {
    Lease lease;
    JumpWatch watch{zero};
    lease.renew(zero, 30s);
    CHECK(watch.look(zero + 1s) == 0s);
    const auto jump = watch.look(zero + 601s);
    CHECK(jump == 600s);
    lease.shift(jump);
    CHECK(lease.held(zero + 601s));
    CHECK(lease.left(zero + 601s) == 29s);
    CHECK(watch.look(zero + 602s) == 0s);
    CHECK(watch.look(zero + 500s) == 0s); // never backwards
    CHECK(watch.last() == zero + 602s);
}
