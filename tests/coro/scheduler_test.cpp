#include <catch2/catch_test_macros.hpp>
#include <chrono>

import ringfort.base;
import ringfort.coro;

using namespace ringfort;

namespace {

struct Flag : coro::Timer {
    Flag() : Timer{[](Timer& self) noexcept { static_cast<Flag&>(self).fired = true; }} {}
    bool fired = false;
};

}  // namespace

TEST_CASE("a turn begins at the instant it is told and fires what is due then") {
    coro::Scheduler scheduler;
    Flag due, later;
    const Instant begin = now();
    scheduler.timers().arm(due, begin + Milliseconds{5});
    scheduler.timers().arm(later, begin + Milliseconds{50});
    scheduler.begin_turn(begin + Milliseconds{7});
    CHECK(scheduler.time() == begin + Milliseconds{7});
    CHECK(due.fired);
    CHECK_FALSE(later.fired);
    later.disarm();
}
