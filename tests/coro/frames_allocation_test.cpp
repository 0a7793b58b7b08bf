#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

import ringfort.base;
import ringfort.coro;

#include "drive.h"

namespace {
std::size_t allocations = 0;
}

extern "C" {
void* __real_malloc(std::size_t);
void* __real_calloc(std::size_t, std::size_t);
void* __real_realloc(void*, std::size_t);
void* __real_aligned_alloc(std::size_t, std::size_t);
int __real_posix_memalign(void**, std::size_t, std::size_t);
void* __wrap_malloc(std::size_t size) {
    ++allocations;
    return __real_malloc(size);
}
void* __wrap_calloc(std::size_t count, std::size_t size) {
    ++allocations;
    return __real_calloc(count, size);
}
void* __wrap_realloc(void* memory, std::size_t size) {
    ++allocations;
    return __real_realloc(memory, size);
}
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
    ++allocations;
    return __real_aligned_alloc(alignment, size);
}
int __wrap_posix_memalign(void** out, std::size_t alignment, std::size_t size) {
    ++allocations;
    return __real_posix_memalign(out, alignment, size);
}
}

void* operator new(std::size_t size) {
    if (void* memory = std::malloc(size)) return memory;  // counted there
    throw std::bad_alloc{};
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return std::malloc(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

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
        if (round == 10) before = allocations;
        testing::Running running{scheduler, everything(channel, sequence, mutex)};
        for (int turn = 0; turn < 100 && !running.done(); ++turn) testing::pass(scheduler, 1);
        if (!running.done()) FAIL("the task hangs");
    }
    CHECK(before > 0);
    CHECK(allocations == before);
}

TEST_CASE("the count of allocations notices one") {
    const std::size_t before = allocations;
    int* volatile number = new int{1};
    delete number;
    void* volatile memory = std::malloc(10);
    std::free(memory);
    CHECK(allocations == before + 2);
}
