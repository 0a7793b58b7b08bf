#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "allocations.h"
#include "drive.h"

using namespace ringfort;
using coro::Task;

namespace {

Task<Result<long>> add(long a, long b) {
    co_return a + b;
}

Task<Result<long>> add_three(long a, long b, long c) {
    const long sum = co_await co_await add(a, b);
    co_return co_await co_await add(sum, c);
}

Task<> nap_and_set(coro::Event& event) {
    (void)co_await coro::sleep_for(Milliseconds{1});
    event.set();
}

Task<> produce(coro::Channel<long>& channel) {
    for (long i = 0; i < 20; ++i) (void)co_await channel.send(long{i});
}

/// Uses everything that a connection's life consists of, once.
Task<> everything(coro::Channel<long>& channel, coro::Sequence<long>& sequence,
                  coro::Mutex& mutex) {
    (void)co_await add_three(1, 2, 3);
    coro::Scope scope{co_await coro::current_context(), {.limit = 2}};
    coro::Event event;
    scope.spawn(nap_and_set(event));
    (void)co_await scope.spawn_when_room(produce(channel));
    for (int i = 0; i < 20; ++i) (void)co_await channel.receive();
    (void)co_await coro::timeout(Milliseconds{50}, event.wait());
    (void)co_await coro::timeout(Milliseconds{1}, coro::sleep_for(Milliseconds{50}));
    (void)sequence.push(7);
    (void)co_await sequence.next();
    auto guard = co_await mutex.lock();
    (void)co_await coro::when_all(add(1, 2), add(3, 4));
    (void)co_await coro::when_any(add(1, 2), add(3, 4));
    co_await scope.join();
}

}  // namespace

TEST_CASE("nothing is allocated in the steady state") {
    coro::Scheduler scheduler;
    coro::Channel<long> channel{4};
    coro::Sequence<long> sequence;
    coro::Mutex mutex;
    std::size_t before = 0;
    for (int round = 0; round < 1'000; ++round) {
        if (round == 10) before = testing::allocations();
        testing::Running running{scheduler, everything(channel, sequence, mutex)};
        for (int turn = 0; turn < 100 && !running.done(); ++turn) testing::pass(scheduler, 1);
        if (!running.done()) FAIL("the task hangs");
    }
    CHECK(before > 0);
    CHECK(testing::allocations() == before);
}

TEST_CASE("the count of allocations notices one") {
    const std::size_t before = testing::allocations();
    int* volatile number = new int{1};
    delete number;
    void* volatile memory = std::malloc(10);
    std::free(memory);
    CHECK(testing::allocations() == before + 2);
}

namespace {

/// Keeps the compiler from leaving the bytes out of the frame.
void touch(char* bytes) {
    asm volatile("" : : "r"(bytes) : "memory");
}

/// A task whose frame is too large to be kept.
template <class T>
Task<T> large(std::shared_ptr<int>, T value) {
    char bytes[2 * limits::max_pooled_frame_bytes];
    touch(bytes);
    (void)co_await coro::sleep_for(Milliseconds{1});
    touch(bytes);
    co_return value;
}

Task<> large_nothing(std::shared_ptr<int>) {
    char bytes[2 * limits::max_pooled_frame_bytes];
    touch(bytes);
    (void)co_await coro::sleep_for(Milliseconds{1});
    touch(bytes);
}

/// Awaits tasks for which there is no memory, in every way there is.
Task<bool> do_without(std::shared_ptr<int> token) {
    testing::fail_large_allocations = true;
    const auto result = co_await large<Result<int>>(token, 1);
    bool thrown = false;
    try {
        (void)co_await large<int>(token, 1);
    } catch (const std::bad_alloc&) {
        thrown = true;
    }
    bool joined = false;
    try {
        (void)co_await coro::when_all(add(1, 2), large_nothing(token));
    } catch (const std::bad_alloc&) {
        joined = true;
    }
    coro::Scope scope{co_await coro::current_context(), {.limit = 2}};
    const auto refused = scope.try_spawn(large_nothing(token));
    const auto waited = co_await scope.spawn_when_room(large_nothing(token));
    bool spawned = false;
    try {
        scope.spawn(large_nothing(token));
    } catch (const std::bad_alloc&) {
        spawned = true;
    }
    testing::fail_large_allocations = false;
    co_await scope.join();
    using std::errc;
    co_return !result && result.error().is(errc::not_enough_memory) && thrown && joined &&
        !refused && refused.error().is(errc::not_enough_memory) && !waited &&
        waited.error().is(errc::not_enough_memory) && spawned && scope.size() == 0;
}

}  // namespace

TEST_CASE("a task for which there is no memory fails, and nothing else does") {
    coro::Scheduler scheduler;
    const auto token = std::make_shared<int>(1);
    CHECK(testing::run(scheduler, do_without(token)));
    CHECK(token.use_count() == 1);
    CHECK(testing::run(scheduler, large<int>(token, 5)) == 5);
}
