// What an agent makes of a head that it does not hear.
#include "agent/abandon.h"

#include <doctest/doctest.h>

using namespace trainctl;
using namespace std::chrono_literals;

namespace {

using Next = SilentHead::Next;

struct Watch {
    // Time goes on by seconds until something else than waiting comes of it.
    Next pass(Duration limit) {
        for (const Instant end = now + limit; now < end; now += 1s)
            if (const auto next = head.next(30s, now); next != Next::wait)
                return next;
        return Next::wait;
    }
    Next look(const std::optional<HeadSign> &sign, Duration limit = 60s) {
        const auto next = pass(limit);
        if (next == Next::look)
            head.seen(sign, now);
        return next;
    }

    SilentHead head;
    Instant now = Instant{} + 1000s;
};

} // namespace

TEST_CASE("silent head: a beat that stood still for a lease is a head that is gone") {
    Watch watch;
    CHECK(watch.look(HeadSign{1, false}) == Next::look);
    const Instant first = watch.now;
    CHECK(watch.look(HeadSign{1, false}) == Next::look);
    CHECK(watch.pass(60s) == Next::abandon);
    CHECK(watch.now - first >= 30s);
    CHECK(watch.now - first <= 40s);
}

TEST_CASE("silent head: one that beat when it fell silent and stopped later is found as well") {
    Watch watch;
    CHECK(watch.look(HeadSign{1, false}) == Next::look);
    CHECK(watch.look(HeadSign{2, false}) == Next::look);
    CHECK(watch.look(HeadSign{2, false}) == Next::look);
    CHECK(watch.pass(60s) == Next::abandon);
}

TEST_CASE("silent head: one that goes on beating is left after a while, and nothing is done to its job") {
    Watch watch;
    std::uint64_t beat = 0;
    const Instant first = watch.now;
    Next next = Next::look;
    while (next == Next::look)
        next = watch.look(HeadSign{++beat, false});
    CHECK(next == Next::leave);
    CHECK(watch.now - first == 30min);
}

TEST_CASE("silent head: what can't be read is no evidence, and a look that hangs is waited for") {
    Watch unread;
    for (int i = 0; i < 5; ++i)
        CHECK(unread.look(std::nullopt) == Next::look);
    CHECK(unread.look(HeadSign{1, false}) == Next::look);
    CHECK(unread.look(HeadSign{1, false}) == Next::look);
    CHECK(unread.pass(60s) == Next::abandon);

    Watch hung;
    CHECK(hung.pass(60s) == Next::look);
    CHECK(hung.pass(20min) == Next::wait);
    CHECK(hung.pass(20min) == Next::leave);
}

TEST_CASE("silent head: after its last word it has time to make its successor, and not for ever") {
    Watch watch;
    const Instant first = watch.now;
    Next next = Next::look;
    while (next == Next::look)
        next = watch.look(HeadSign{1, true});
    CHECK(next == Next::abandon);
    CHECK(watch.now - first >= 15min);
    CHECK(watch.now - first <= 16min);
}

TEST_CASE("silent head: one that was heard again begins anew") {
    Watch watch;
    CHECK(watch.look(HeadSign{1, false}) == Next::look);
    watch.now += 40s;
    watch.head.heard();
    CHECK(watch.look(HeadSign{1, false}) == Next::look);
    CHECK(watch.look(HeadSign{1, false}) == Next::look);
}
