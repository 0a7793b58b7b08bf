#include <sys/socket.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <coroutine>
#include <exception>
#include <latch>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "listener.h"

using namespace ringfort;
using coro::Task;

namespace {

/// A loop that has begun to accept from some listeners and then does nothing more, as that of a
/// worker that was stopped: the kernel wakes it, first of all, for each one's next connection.
class StoppedLoop {
public:
    explicit StoppedLoop(const std::vector<RawFd>& listeners)
        : thread_{[this, listeners] {
              auto loop = uring::Loop::open().value();
              loop->run(accept_and_stop(*loop, listeners));
          }} {
        accepting_.wait();
    }
    ~StoppedLoop() {
        go_on_.count_down();
        thread_.join();
    }
    StoppedLoop(const StoppedLoop&) = delete;
    StoppedLoop& operator=(const StoppedLoop&) = delete;

private:
    static Task<> accept(uring::Loop& loop, RawFd listener) {
        (void)co_await loop.accept(listener);
    }

    Task<> accept_and_stop(uring::Loop& loop, const std::vector<RawFd>& listeners) {
        coro::Scope scope{co_await coro::current_context()};
        for (const RawFd listener : listeners) scope.spawn(accept(loop, listener));
        (void)co_await loop.sleep(Milliseconds{1});  // the accepts have gone to the kernel
        accepting_.count_down();
        go_on_.wait();  // the thread stands still
        scope.cancel();
        co_await scope.join();
    }

    std::latch accepting_{1};
    std::latch go_on_{1};
    std::thread thread_;
};

Task<> accept_one(net::Acceptor& acceptor, std::optional<Instant>& when) {
    if (co_await acceptor.accept()) when = now();
}

/// Connects to the listener and returns how long it takes until the acceptor has the connection;
/// five seconds when it never has.
Task<Instant::duration> wait_of_one(uring::Loop& loop, const testing::Listener& at,
                                    net::Acceptor& acceptor) {
    coro::Scope scope{co_await coro::current_context()};
    std::optional<Instant> accepted;
    scope.spawn(accept_one(acceptor, accepted));
    (void)co_await loop.sleep(Milliseconds{1});
    const Instant begun = now();
    const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ensure((co_await loop.connect(client.get(), at.address)).has_value(), "connect");
    while (!accepted && now() - begun < Milliseconds{5'000})
        (void)co_await loop.sleep(Milliseconds{1});
    scope.cancel();
    co_await scope.join();
    co_return accepted.value_or(begun + Milliseconds{5'000}) - begun;
}

// One sweep, and much more for a busy machine; without a sweep it would be for ever.
constexpr Milliseconds soon = limits::accept_sweep_ms * 50;

}  // namespace

TEST_CASE("a sweep takes the connection for which the kernel woke a loop that stands still") {
    const testing::Listener listener;
    auto loop = uring::Loop::open().value();
    for (int round = 0; round < 5; ++round) {
        const StoppedLoop stopped{{listener.socket.get()}};
        auto body = [&](uring::Loop& on) -> Task<Instant::duration> {
            net::Sweep sweep{on};
            net::Acceptor acceptor{on, listener.socket.get(), {.sweep = &sweep}};
            co_return co_await wait_of_one(on, listener, acceptor);
        };
        CHECK(loop->run(body(*loop)) < soon);
    }
}

TEST_CASE("one sweep serves every listener of a loop, also after one of them has gone") {
    const testing::Listener first;
    const testing::Listener second;
    auto loop = uring::Loop::open().value();
    const StoppedLoop stopped{{first.socket.get(), second.socket.get()}};
    auto body = [&](uring::Loop& on) -> Task<> {
        net::Sweep sweep{on};
        std::optional<net::Acceptor> one;
        one.emplace(on, first.socket.get(), net::AcceptorOptions{.sweep = &sweep});
        net::Acceptor other{on, second.socket.get(), {.sweep = &sweep}};
        CHECK(co_await wait_of_one(on, first, *one) < soon);
        one.reset();
        CHECK(co_await wait_of_one(on, second, other) < soon);
    };
    loop->run(body(*loop));
}
