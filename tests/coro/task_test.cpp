#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

static_assert(!std::is_copy_constructible_v<Task<int>>);
static_assert(std::is_nothrow_move_constructible_v<Task<int>>);

TEST_CASE("a task does not start before it is awaited") {
    bool started = false;
    auto body = [](bool& flag) -> Task<> {
        flag = true;
        co_return;
    };
    coro::Scheduler scheduler;
    auto task = body(started);
    CHECK_FALSE(started);
    testing::Running running{scheduler, std::move(task)};
    CHECK(started);
    CHECK(running.done());
}

TEST_CASE("a task that is dropped unawaited frees its arguments") {
    auto token = std::make_shared<int>(1);
    auto body = [](std::shared_ptr<int>) -> Task<> { co_return; };
    {
        auto task = body(token);
        CHECK(token.use_count() == 2);
    }
    CHECK(token.use_count() == 1);
}

namespace {

Task<int> nested(int depth) {
    if (depth == 0) co_return 0;
    co_return 1 + co_await nested(depth - 1);
}

Task<long> repeated(long times) {
    auto one = []() -> Task<long> { co_return 1; };
    long sum = 0;
    for (long i = 0; i < times; ++i) sum += co_await one();
    co_return sum;
}

template <class T>
Task<> store(Task<T> task, T& out) {
    out = co_await std::move(task);
}

}  // namespace

TEST_CASE("values come back through nested tasks") {
    coro::Scheduler scheduler;
    int depth = 0;
    testing::Running running{scheduler, store(nested(1'000), depth)};
    REQUIRE(running.done());
    CHECK(depth == 1'000);
}

TEST_CASE("a million awaits in a row use no stack") {
    coro::Scheduler scheduler;
    long sum = 0;
    testing::Running running{scheduler, store(repeated(1'000'000), sum)};
    REQUIRE(running.done());
    CHECK(sum == 1'000'000);
}

TEST_CASE("an exception reaches the awaiting task") {
    auto thrower = []() -> Task<int> {
        throw std::runtime_error{"inner"};
        co_return 1;
    };
    auto catcher = [](Task<int> task, bool& caught) -> Task<> {
        try {
            (void)co_await std::move(task);
        } catch (const std::runtime_error&) {
            caught = true;
        }
    };
    coro::Scheduler scheduler;
    bool caught = false;
    testing::Running running{scheduler, catcher(thrower(), caught)};
    CHECK(caught);
}

TEST_CASE("a Result comes back as a value and an early return skips the rest") {
    auto body = [](bool& rest) -> Task<Result<int>> {
        auto failing = []() -> Task<Result<int>> { co_return Error{"test", std::errc::timed_out}; };
        auto value = co_await failing();
        if (!value) co_return value.error();
        rest = true;
        co_return 1;
    };
    coro::Scheduler scheduler;
    bool rest = false;
    Result<int> outcome{0};
    testing::Running running{scheduler, store(body(rest), outcome)};
    REQUIRE(running.done());
    CHECK_FALSE(rest);
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().is(std::errc::timed_out));
}
