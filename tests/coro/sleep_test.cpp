#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <coroutine>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {

Task<> nap(Milliseconds time, std::optional<Result<void>>& outcome) {
    outcome = co_await coro::sleep_for(time);
}

Task<> nap_until(Instant due, std::optional<Result<void>>& outcome) {
    outcome = co_await coro::sleep_until(due);
}

}  // namespace

TEST_CASE("a sleeping task wakes in time and not before") {
    coro::Scheduler scheduler;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler, nap(Milliseconds{10}, outcome)};
    testing::pass(scheduler, 9);
    CHECK_FALSE(outcome);
    testing::pass(scheduler, 2);
    REQUIRE(outcome);
    CHECK(outcome->has_value());
}

TEST_CASE("sleeping until an instant that has passed takes a tick") {
    coro::Scheduler scheduler;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler,
                             nap_until(scheduler.time() - std::chrono::hours{1}, outcome)};
    CHECK_FALSE(outcome);
    testing::pass(scheduler, 2);
    CHECK(outcome);
}

TEST_CASE("sleeping for as long as can be said does not overflow") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler, nap(Milliseconds::max(), outcome), &cancel};
    testing::pass(scheduler, 5);
    CHECK_FALSE(outcome);
    REQUIRE(scheduler.timers().next());
    CHECK(*scheduler.timers().next() > scheduler.time() + std::chrono::hours{24 * 30});
    cancel.request();
    scheduler.run();
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::operation_canceled));
}

TEST_CASE("a cancelled task does not fall asleep, and a cancelled sleeper wakes once") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    std::optional<Result<void>> outcome, second;
    testing::Running running{scheduler, nap(Milliseconds{5}, outcome), &cancel};
    cancel.request();
    testing::pass(scheduler, 10);
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::operation_canceled));
    testing::Running late{scheduler, nap(Milliseconds{5}, second), &cancel};
    CHECK(late.done());
    CHECK(scheduler.timers().size() == 0);
}
