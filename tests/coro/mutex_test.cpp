#include <catch2/catch_test_macros.hpp>
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

Task<> use(coro::Mutex& mutex, int id, int& inside, std::vector<int>& order) {
    auto guard = co_await mutex.lock();
    if (!guard) {
        order.push_back(-id);
        co_return;
    }
    CHECK(++inside == 1);
    (void)co_await coro::sleep_for(Milliseconds{2});
    order.push_back(id);
    --inside;
}

}  // namespace

TEST_CASE("one task at a time holds a mutex, first come, first served") {
    coro::Scheduler scheduler;
    coro::Mutex mutex;
    int inside = 0;
    std::vector<int> order;
    coro::Scope scope{coro::Context{.scheduler = &scheduler}};
    for (int id = 1; id <= 5; ++id) scope.spawn(use(mutex, id, inside, order));
    testing::pass(scheduler, 30);
    CHECK(order == std::vector{1, 2, 3, 4, 5});
    CHECK_FALSE(mutex.locked());
}

TEST_CASE("a task that is cancelled while it waits is passed over") {
    coro::Scheduler scheduler;
    coro::CancelSource cancel;
    coro::Mutex mutex;
    int inside = 0;
    std::vector<int> order;
    testing::Running first{scheduler, use(mutex, 1, inside, order)};
    testing::Running second{scheduler, use(mutex, 2, inside, order), &cancel};
    testing::Running third{scheduler, use(mutex, 3, inside, order)};
    cancel.request();
    testing::pass(scheduler, 30);
    CHECK(order == std::vector{-2, 1, 3});
}

TEST_CASE("a locked mutex is not locked again by trying") {
    coro::Mutex mutex;
    auto guard = mutex.try_lock();
    REQUIRE(guard);
    CHECK_FALSE(mutex.try_lock());
    guard->release();
    CHECK(mutex.try_lock());
}
