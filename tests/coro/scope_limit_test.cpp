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

Task<> wait_for(coro::Event& event, std::shared_ptr<int>) {
    (void)co_await event.wait();
}

Task<> spawn_one(coro::Scope& scope, coro::Event& event, std::shared_ptr<int> token,
                 std::optional<Result<void>>& outcome) {
    outcome = co_await scope.spawn_when_room(wait_for(event, std::move(token)));
}

Task<> join(coro::Scope& scope) {
    co_await scope.join();
}

}  // namespace

TEST_CASE("a full scope refuses a task and drops it") {
    coro::Scheduler scheduler;
    coro::Event event;
    const auto token = std::make_shared<int>(1);
    coro::Scope scope{coro::Context{.scheduler = &scheduler}, {.limit = 2}};
    CHECK(scope.try_spawn(wait_for(event, token)));
    CHECK(scope.try_spawn(wait_for(event, token)));
    const auto refused = scope.try_spawn(wait_for(event, token));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(std::errc::resource_unavailable_try_again));
    CHECK(token.use_count() == 3);
    scheduler.run();
    event.set();
    scheduler.run();
    CHECK(scope.size() == 0);
    CHECK(scope.try_spawn(wait_for(event, token)));
    scheduler.run();
    CHECK(token.use_count() == 1);
}

TEST_CASE("who waits for room gets it in order, when a task ends") {
    coro::Scheduler scheduler;
    const auto token = std::make_shared<int>(1);
    coro::Scope scope{coro::Context{.scheduler = &scheduler}, {.limit = 1}};
    coro::Event events[4];
    std::optional<Result<void>> outcomes[4];
    {
        std::vector<std::unique_ptr<testing::Running<void>>> running;
        for (int i = 0; i < 4; ++i)
            running.push_back(std::make_unique<testing::Running<void>>(
                scheduler, spawn_one(scope, events[i], token, outcomes[i])));
        CHECK(outcomes[0]);
        scheduler.run();
        CHECK_FALSE(scope.try_spawn(wait_for(events[0], token)));
        for (int i = 0; i < 3; ++i) {
            CHECK_FALSE(outcomes[i + 1]);
            events[i].set();
            scheduler.run();
            CHECK(scope.size() == 1);
            REQUIRE(outcomes[i + 1]);
            CHECK(outcomes[i + 1]->has_value());
        }
        events[3].set();
        scheduler.run();
    }
    CHECK(scope.size() == 0);
    CHECK(token.use_count() == 1);
}

TEST_CASE("waiting for room is cancelled, and the task is dropped") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Event event;
    const auto token = std::make_shared<int>(1);
    coro::Scope scope{coro::Context{.scheduler = &scheduler}, {.limit = 1}};
    scope.spawn(wait_for(event, token));
    scheduler.run();
    std::optional<Result<void>> outcome;
    testing::Running waiting{scheduler, spawn_one(scope, event, token, outcome), &cancel};
    testing::Running joining{scheduler, join(scope)};
    cancel.request();
    scheduler.run();
    REQUIRE(waiting.done());
    CHECK(outcome->error().is(std::errc::operation_canceled));
    CHECK(token.use_count() == 2);
    event.set();
    scheduler.run();
    CHECK(joining.done());
    CHECK(token.use_count() == 1);
}

TEST_CASE("a join waits for those too that waited for room") {
    coro::Scheduler scheduler;
    coro::Event first, second;
    const auto token = std::make_shared<int>(1);
    coro::Scope scope{coro::Context{.scheduler = &scheduler}, {.limit = 1}};
    scope.spawn(wait_for(first, token));
    std::optional<Result<void>> outcome;
    testing::Running waiting{scheduler, spawn_one(scope, second, token, outcome)};
    testing::Running joining{scheduler, join(scope)};
    scheduler.run();
    first.set();
    scheduler.run();
    CHECK(outcome->has_value());
    CHECK_FALSE(joining.done());
    second.set();
    scheduler.run();
    CHECK(joining.done());
}
