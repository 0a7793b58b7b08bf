#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "../coro/allocations.h"
#include "listener.h"

using namespace ringfort;
using coro::Task;

namespace {

constexpr Milliseconds limit{5'000};  // the limits of a server's calls, which need timers

/// What apps/echo does.
Task<> echo(net::Stream peer) {
    for (;;) {
        const auto chunk = co_await peer.receive(limit);
        if (!chunk || chunk->empty()) co_return;
        if (!co_await peer.send_all(*chunk, limit)) co_return;
    }
}

/// Sends a request and receives its answer so many times; returns how often both were right.
Task<int> ask(net::Stream& server, int times) {
    std::array<std::byte, 64> request{};
    int right = 0;
    for (int i = 0; i < times; ++i) {
        request.fill(static_cast<std::byte>(i));
        if (!co_await server.send_all(request, limit)) co_return right;
        std::size_t received = 0;
        bool same = true;
        while (received < request.size()) {
            const auto chunk = co_await server.receive(limit);
            if (!chunk || chunk->empty()) co_return right;
            for (const std::byte byte : chunk->bytes()) same = same && byte == request.front();
            received += chunk->size();
        }
        if (same) ++right;
    }
    co_return right;
}

}  // namespace

TEST_CASE("ten thousand echoes through a loop allocate nothing") {
    constexpr int echoes = 10'000;
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    std::size_t allocated = 1;
    auto body = [&](uring::Loop& on) -> Task<int> {
        net::Acceptor acceptor{on, listener.socket.get(), net::AcceptorOptions{}};
        auto client = co_await net::connect(on, listener.address, limit);
        ensure(client.has_value(), "connect");
        auto peer = co_await acceptor.accept();
        ensure(peer.has_value(), "accept");
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(echo(*std::move(peer)));
        (void)co_await ask(*client, 100);  // pools grow to what is needed
        const std::size_t before = testing::allocations();
        const int right = co_await ask(*client, echoes);
        allocated = testing::allocations() - before;
        (void)client->shutdown_write();
        co_await scope.join();
        co_return right;
    };
    CHECK(loop->run(body(*loop)) == echoes);
    CHECK(allocated == 0);
    CHECK(testing::allocations() > 0);
}
