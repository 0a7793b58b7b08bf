#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {
Task<> wait_for(coro::Event& event, std::optional<Result<void>>& outcome) {
    outcome = co_await event.wait();
}
}  // namespace

TEST_CASE("setting an event resumes every task that waits") {
    coro::Scheduler scheduler;
    coro::Event event;
    std::optional<Result<void>> one, two;
    testing::Running first{scheduler, wait_for(event, one)};
    testing::Running second{scheduler, wait_for(event, two)};
    CHECK_FALSE(first.done());
    event.set();
    CHECK(scheduler.run(testing::plenty) == 2);
    REQUIRE(one);
    REQUIRE(two);
    CHECK(one->has_value());
    CHECK(two->has_value());
}

TEST_CASE("a set event does not suspend until it is reset") {
    coro::Scheduler scheduler;
    coro::Event event;
    event.set();
    std::optional<Result<void>> one, two;
    testing::Running first{scheduler, wait_for(event, one)};
    CHECK(first.done());
    event.reset();
    testing::Running second{scheduler, wait_for(event, two)};
    CHECK_FALSE(second.done());
    event.set();
    scheduler.run(testing::plenty);
    CHECK(second.done());
}

TEST_CASE("waiting for an event ends with ECANCELED when it is cancelled") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Event event;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler, wait_for(event, outcome), &cancel};
    cancel.request();
    scheduler.run(testing::plenty);
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::operation_canceled));
    event.set();
    CHECK(scheduler.empty());
}

TEST_CASE("a cancelled task does not begin to wait") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    cancel.request();
    coro::Event event;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler, wait_for(event, outcome), &cancel};
    REQUIRE(running.done());
    CHECK(outcome->error().is(std::errc::operation_canceled));
}

TEST_CASE("cancelling after the event was set does not resume twice") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Event event;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler, wait_for(event, outcome), &cancel};
    event.set();
    cancel.request();
    CHECK(scheduler.run(testing::plenty) == 1);
    REQUIRE(outcome);
    CHECK(outcome->has_value());
}
