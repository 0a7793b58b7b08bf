#include <catch2/catch_test_macros.hpp>
#include <coroutine>
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

constexpr Milliseconds limit{10};

Task<Result<int>> answer_after(Milliseconds time) {
    co_await co_await coro::sleep_for(time);
    co_return 42;
}

/// Ends only some time after it was cancelled, and well.
Task<Result<int>> stubborn(coro::Event& event) {
    (void)co_await event.wait();
    coro::CancelSource own;
    auto rest = []() -> Task<> { (void)co_await coro::sleep_for(Milliseconds{5}); };
    co_await rest().under(own);
    co_return 43;
}

Task<Result<int>> limited(Milliseconds time) {
    co_return co_await coro::timeout(limit, answer_after(time));
}

}  // namespace

TEST_CASE("what ends in time yields its outcome, and leaves no timer behind") {
    coro::Scheduler scheduler;
    CHECK(testing::run(scheduler, limited(Milliseconds{3})).value() == 42);
    CHECK(scheduler.timers().size() == 0);
}

TEST_CASE("what takes too long is cancelled and yields ETIMEDOUT") {
    coro::Scheduler scheduler;
    const Instant begin = scheduler.time();
    const auto outcome = testing::run(scheduler, limited(Milliseconds{3'000}));
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().is(std::errc::timed_out));
    CHECK(scheduler.time() - begin >= limit);
    CHECK(scheduler.time() - begin <= limit + Milliseconds{2});
}

TEST_CASE("an awaitable that is no task is limited too") {
    coro::Scheduler scheduler;
    auto body = [](coro::Event& event) -> Task<Result<void>> {
        co_return co_await coro::timeout(limit, event.wait());
    };
    coro::Event event;
    CHECK(testing::run(scheduler, body(event)).error().is(std::errc::timed_out));
    event.set();
    CHECK(testing::run(scheduler, body(event)));
}

TEST_CASE("a result that comes although time ran out is delivered") {
    coro::Scheduler scheduler;
    auto body = [](coro::Event& event) -> Task<Result<int>> {
        co_return co_await coro::timeout(limit, stubborn(event));
    };
    coro::Event event;
    CHECK(testing::run(scheduler, body(event)).value() == 43);
}

TEST_CASE("what yields nothing yields success or ETIMEDOUT") {
    coro::Scheduler scheduler;
    auto nap = [](Milliseconds time) -> Task<> { (void)co_await coro::sleep_for(time); };
    auto body = [](Task<> task) -> Task<Result<void>> {
        co_return co_await coro::timeout(limit, std::move(task));
    };
    CHECK(testing::run(scheduler, body(nap(Milliseconds{1}))));
    CHECK(testing::run(scheduler, body(nap(Milliseconds{100}))).error().is(std::errc::timed_out));
}

TEST_CASE("what yields a value that cannot be an error always delivers it") {
    coro::Scheduler scheduler;
    auto value = []() -> Task<std::unique_ptr<int>> {
        (void)co_await coro::sleep_for(Milliseconds{100});
        co_return std::make_unique<int>(5);
    };
    auto body = [](Task<std::unique_ptr<int>> task) -> Task<Result<std::unique_ptr<int>>> {
        co_return co_await coro::timeout(limit, std::move(task));
    };
    CHECK(**testing::run(scheduler, body(value())) == 5);
}

TEST_CASE("cancelling the task before its time is up yields ECANCELED") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    std::optional<Result<int>> outcome;
    testing::Running running{scheduler, testing::keep(limited(Milliseconds{3'000}), outcome),
                             &cancel};
    testing::pass(scheduler, 2);
    cancel.request();
    testing::pass(scheduler, 20);
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::operation_canceled));
}

TEST_CASE("an exception passes through a time limit") {
    coro::Scheduler scheduler;
    auto thrower = []() -> Task<Result<int>> {
        (void)co_await coro::sleep_for(Milliseconds{2});
        throw std::runtime_error{"inside"};
    };
    auto body = [](Task<Result<int>> task) -> Task<Result<int>> {
        try {
            co_return co_await coro::timeout(limit, std::move(task));
        } catch (const std::runtime_error&) {
            co_return -1;
        }
    };
    CHECK(testing::run(scheduler, body(thrower())).value() == -1);
    CHECK(scheduler.timers().size() == 0);
}

TEST_CASE("time limits nest: the shorter one counts") {
    coro::Scheduler scheduler;
    auto body = [](Milliseconds outer, Milliseconds inner) -> Task<Result<int>> {
        co_return co_await coro::timeout(outer,
                                         coro::timeout(inner, answer_after(Milliseconds{1'000})));
    };
    for (const auto& [outer, inner] : {std::pair{10, 50}, std::pair{50, 10}}) {
        const Instant begin = scheduler.time();
        const auto outcome =
            testing::run(scheduler, body(Milliseconds{outer}, Milliseconds{inner}));
        CHECK(outcome.error().is(std::errc::timed_out));
        CHECK(scheduler.time() - begin <= Milliseconds{13});
    }
}

TEST_CASE("after a time limit the task waits below its own source again") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    auto body = [](coro::Event& event, std::optional<Result<void>>& outcome) -> Task<> {
        (void)co_await coro::timeout(limit, answer_after(Milliseconds{1}));
        (void)co_await coro::timeout(Milliseconds{1}, answer_after(limit));
        outcome = co_await event.wait();
    };
    coro::Event event;
    std::optional<Result<void>> outcome;
    testing::Running running{scheduler, body(event, outcome), &cancel};
    testing::pass(scheduler, 10);
    CHECK_FALSE(outcome);
    cancel.request();
    scheduler.run();
    REQUIRE(outcome);
    CHECK(outcome->error().is(std::errc::operation_canceled));
}
