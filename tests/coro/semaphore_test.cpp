#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <memory>
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

Task<> acquire(coro::Semaphore& semaphore, std::size_t count,
               std::optional<Result<coro::Permit>>& out) {
    out.emplace(co_await semaphore.acquire(count));
}

}  // namespace

TEST_CASE("permits are given until there are none, and again when they come back") {
    coro::Scheduler scheduler;
    coro::Semaphore semaphore{3};
    auto two = semaphore.try_acquire(2);
    REQUIRE(two);
    CHECK(semaphore.available() == 1);
    CHECK_FALSE(semaphore.try_acquire(2));
    std::optional<Result<coro::Permit>> out;
    testing::Running running{scheduler, acquire(semaphore, 2, out)};
    CHECK_FALSE(running.done());
    two->release();
    two->release();
    scheduler.run();
    REQUIRE(running.done());
    CHECK(out->has_value());
    CHECK(semaphore.available() == 1);
    out.reset();
    CHECK(semaphore.available() == 3);
}

TEST_CASE("a request for many is not overtaken by one for few") {
    coro::Scheduler scheduler;
    coro::Semaphore semaphore{3};
    auto held = semaphore.try_acquire(2);
    std::optional<Result<coro::Permit>> many, few;
    testing::Running first{scheduler, acquire(semaphore, 3, many)};
    testing::Running second{scheduler, acquire(semaphore, 1, few)};
    CHECK_FALSE(second.done());
    CHECK_FALSE(semaphore.try_acquire(1));
    held.reset();
    scheduler.run();
    CHECK(first.done());
    CHECK_FALSE(second.done());
    many.reset();
    scheduler.run();
    CHECK(second.done());
}

TEST_CASE("when the first that waits is cancelled, those behind it are served") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Semaphore semaphore{2};
    auto held = semaphore.try_acquire(1);
    std::optional<Result<coro::Permit>> many, few;
    testing::Running first{scheduler, acquire(semaphore, 2, many), &cancel};
    testing::Running second{scheduler, acquire(semaphore, 1, few)};
    cancel.request();
    scheduler.run();
    REQUIRE(first.done());
    CHECK(many->error().is(std::errc::operation_canceled));
    CHECK(second.done());
    few.reset();
    held.reset();
    CHECK(semaphore.available() == 2);
}

TEST_CASE("permits that were given before a cancellation are delivered") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Semaphore semaphore{1};
    auto held = semaphore.try_acquire();
    std::optional<Result<coro::Permit>> out;
    testing::Running running{scheduler, acquire(semaphore, 1, out), &cancel};
    held.reset();
    cancel.request();
    scheduler.run();
    REQUIRE(running.done());
    CHECK(out->has_value());
    CHECK(semaphore.available() == 0);
}

TEST_CASE("a permit moves, and is given back once") {
    coro::Semaphore semaphore{2};
    auto first = semaphore.try_acquire();
    auto second = semaphore.try_acquire();
    coro::Permit moved{std::move(*first)};
    first.reset();
    CHECK(semaphore.available() == 0);
    moved = std::move(*second);
    second.reset();
    CHECK(semaphore.available() == 1);
    moved.release();
    CHECK(semaphore.available() == 2);
}
