#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../net/listener.h"
#include "sockets.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;
using Outcome = std::optional<std::string>;

namespace {

constexpr Milliseconds longest = Milliseconds::max();

/// Runs `task`, which waits for what never comes and is to leave in `outcome` how that ended, for
/// much longer than a limit in the past takes to be noticed, and cancels it.
Task<> wait_and_cancel(Loop& loop, Task<> task, Outcome& early, const Outcome& outcome) {
    coro::Scope scope{co_await coro::current_context()};
    scope.spawn(std::move(task));
    (void)co_await loop.sleep(Milliseconds{10});
    early = outcome;
    scope.cancel();
    co_await scope.join();
}

template <class T>
void note(const Result<T>& result, Outcome& outcome) {
    const bool cancelled = !result && result.error().is(std::errc::operation_canceled);
    outcome = cancelled ? "cancelled" : result ? "done" : result.error().text();
}

void check_endless(Loop& loop, Task<> task, const Outcome& outcome) {
    Outcome early;
    loop.run(wait_and_cancel(loop, std::move(task), early, outcome));
    CHECK_FALSE(early);
    CHECK(outcome == "cancelled");
}

}  // namespace

TEST_CASE("an operation told to expire before it has begun can still be cancelled") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    Outcome outcome;
    auto poll = [](Loop& on, RawFd fd, Outcome& out) -> Task<> {
        auto operation = on.poll(fd, POLLIN);
        operation.expire();
        note(co_await operation, out);
    };
    check_endless(*loop, poll(*loop, near.get(), outcome), outcome);
}

TEST_CASE("a limit that passes while the kernel is at a cancellation is not what ended it") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::tcp_pair();
    const std::vector<std::byte> bytes(64 << 20);
    Outcome outcome;
    auto send = [](Loop& on, RawFd to, std::span<const std::byte> from, Outcome& out) -> Task<> {
        note(co_await uring::ZeroCopySend{on, to, from, Milliseconds{40}}, out);
    };
    auto body = [&](Loop& on) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(send(on, near.get(), bytes, outcome));
        (void)co_await on.sleep(Milliseconds{10});
        scope.cancel();
        (void)co_await on.sleep(Milliseconds{80});
        far.close();  // the kernel lets go of the bytes
        co_await scope.join();
    };
    loop->run(body(*loop));
    CHECK(outcome == "cancelled");
}

TEST_CASE("an operation with the longest time limit there is does not end by it") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    Outcome outcome;
    auto poll = [](Loop& on, RawFd fd, Outcome& out) -> Task<> {
        note(co_await on.poll(fd, POLLIN, longest), out);
    };
    check_endless(*loop, poll(*loop, near.get(), outcome), outcome);
}

TEST_CASE("a receive with the longest time limit there is does not end by it") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    Outcome outcome;
    auto receive = [](Loop& on, Fd fd, Outcome& out) -> Task<> {
        uring::Socket socket{on, std::move(fd)};
        note(co_await socket.receive(longest), out);
    };
    check_endless(*loop, receive(*loop, std::move(near), outcome), outcome);
}

TEST_CASE("a stream's next connection with the longest time limit there is does not end by it") {
    auto loop = Loop::open().value();
    const testing::Listener listener;
    Outcome outcome;
    auto accept = [](Loop& on, RawFd from, Outcome& out) -> Task<> {
        uring::AcceptStream stream{on, from};
        note(co_await stream.next(longest), out);
    };
    check_endless(*loop, accept(*loop, listener.socket.get(), outcome), outcome);
}

TEST_CASE("a send without a copy with the longest time limit there is does not end by it") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    const std::vector<std::byte> bytes(16 << 20);
    Outcome outcome;
    auto send = [](Loop& on, RawFd to, std::span<const std::byte> from, Outcome& out) -> Task<> {
        note(co_await uring::ZeroCopySend{on, to, from, longest}, out);
    };
    check_endless(*loop, send(*loop, near.get(), bytes, outcome), outcome);
}

TEST_CASE("a wait for a word with the longest time limit there is does not end by it") {
    const bool futex = GENERATE(true, false);
    auto loop = Loop::open({.features = {.futex = futex}}).value();
    const uring::FutexWord word{0};
    Outcome outcome;
    auto wait = [](Loop& on, const uring::FutexWord& at, Outcome& out) -> Task<> {
        note(co_await uring::futex_wait(on, at, 0, uring::FutexSharing::threads, longest), out);
    };
    check_endless(*loop, wait(*loop, word, outcome), outcome);
}
