#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
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

enum class How : std::uint8_t { sends, posts };

/// What services do, the second what apps/echo does.
Task<> echo(net::Stream peer, How how) {
    for (;;) {
        auto chunk = co_await peer.receive(limit);
        if (!chunk) co_return;
        if (chunk->empty()) {
            (void)co_await peer.flush(limit);
            co_return;
        }
        if (how == How::sends && !co_await peer.send_all(*chunk, limit)) co_return;
        if (how == How::posts && !co_await peer.post(*std::move(chunk), limit)) co_return;
    }
}

/// Sends a request of `size` bytes and receives its answer so many times; returns how often both
/// were right.
Task<int> ask(net::Stream& server, std::size_t size, int times) {
    static std::array<std::byte, limits::direct_transfer.count> bytes{};
    const std::span request{bytes.data(), size};
    int right = 0;
    for (int i = 0; i < times; ++i) {
        std::ranges::fill(request, static_cast<std::byte>(i));
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

TEST_CASE("thousands of echoes through a loop allocate nothing") {
    const How how = GENERATE(How::sends, How::posts);
    // The larger ones are received and posted by calls of their own.
    const std::size_t size = GENERATE(std::size_t{64}, limits::direct_transfer.count);
    const int echoes = size > 64 ? 2'000 : 10'000;
    CAPTURE(how, size);
    auto loop = uring::Loop::open({.direct_sockets = 0}).value();
    const testing::Listener listener;
    std::size_t allocated = 1;
    auto body = [&](uring::Loop& on) -> Task<int> {
        net::Acceptor acceptor{on, listener.socket.get(), net::AcceptorOptions{}};
        auto client = co_await net::connect(on, listener.address, limit);
        ensure(client.has_value(), "connect");
        auto peer = co_await acceptor.accept();
        ensure(peer.has_value(), "accept");
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(echo(*std::move(peer), how));
        (void)co_await ask(*client, size, 100);  // pools grow to what is needed
        const std::size_t before = testing::allocations();
        const int right = co_await ask(*client, size, echoes);
        allocated = testing::allocations() - before;
        (void)client->shutdown_write();
        co_await scope.join();
        co_return right;
    };
    CHECK(loop->run(body(*loop)) == echoes);
    CHECK(allocated == 0);
    CHECK(testing::allocations() > 0);
    CHECK((loop->statistics().direct > 0) == (size > 64));
}

TEST_CASE("thousands of datagrams that are answered allocate nothing") {
    auto loop = uring::Loop::open().value();
    std::size_t allocated = 1;
    auto body = [&](uring::Loop& on) -> Task<int> {
        const Address any = Address::parse("127.0.0.1:0").value();
        auto server = net::Datagram::bind(on, any).value();
        const Address address = server.address().value();
        auto client = net::Datagram::connect(on, address).value();
        const auto exchange = [&](int times) -> Task<int> {
            const std::array<std::byte, 64> request{};
            int right = 0;
            for (int i = 0; i < times; ++i) {
                if (!co_await client.send(request, limit)) co_return right;
                const auto asked = co_await server.receive(limit);
                if (!asked) co_return right;
                if (!co_await server.send_to(asked->sender, asked->bytes.bytes(), limit))
                    co_return right;
                const auto answer = co_await client.receive(limit);
                if (answer && answer->bytes.size() == request.size()) ++right;
            }
            co_return right;
        };
        (void)co_await exchange(100);
        const std::size_t before = testing::allocations();
        const int right = co_await exchange(5'000);
        allocated = testing::allocations() - before;
        co_return right;
    };
    CHECK(loop->run(body(*loop)) == 5'000);
    CHECK(allocated == 0);
}
