#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

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

#include "sockets.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;

TEST_CASE("a large send goes on after short writes until every byte is gone") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    std::string payload(8 << 20, '\0');
    for (std::size_t i = 0; i < payload.size(); ++i)
        payload[i] = static_cast<char>(i * 7 + i / 4096);
    auto reader = [](Loop& on, Fd fd, std::string& out) -> Task<> {
        uring::Socket socket{on, std::move(fd)};
        for (;;) {
            auto chunk = co_await socket.receive();
            if (!chunk || chunk->empty()) co_return;
            out += chunk->text();
        }
    };
    auto body = [&reader](Loop& on, RawFd from, Fd to, const std::string& bytes,
                          std::string& out) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(reader(on, std::move(to), out));
        const auto sent = co_await on.send_all(from, std::as_bytes(std::span{bytes}));
        ensure(sent.has_value(), "send");
        ::shutdown(from, SHUT_WR);
        co_await scope.join();
    };
    std::string received;
    loop->run(body(*loop, near.get(), std::move(far), payload, received));
    CHECK(received == payload);
}

TEST_CASE("a send in whose middle the peer goes has moved a part, asks for the rest and fails") {
    // The kernel tells the part, and of the error only when it is asked for the rest.
    auto loop = Loop::open().value();
    const std::vector<std::byte> bytes(std::size_t{64} << 20);
    const std::span<const std::byte> pieces[2] = {std::span{bytes}.first(1'000), bytes};
    const int way = GENERATE(0, 1, 2);
    auto [near, far] = testing::tcp_pair();
    auto send = [&](RawFd to) -> Task<Result<void>> {
        if (way == 0) co_return co_await loop->send_all(to, bytes);
        if (way == 1) co_return co_await loop->send_all(to, uring::Pieces{pieces});
        co_return co_await uring::ZeroCopySend{*loop, to, bytes};
    };
    auto keep = [&send](RawFd to, std::optional<Result<void>>& out) -> Task<> {
        out.emplace(co_await send(to));
    };
    auto body = [&]() -> Task<Result<void>> {
        coro::Scope scope{co_await coro::current_context()};
        std::optional<Result<void>> sent;
        scope.spawn(keep(near.get(), sent));
        (void)co_await loop->sleep(Milliseconds{10});
        ensure(!sent, "it waits for the peer to read");
        const auto before = loop->statistics().completions;
        testing::reset(std::move(far));
        co_await scope.join();
        const bool both = loop->statistics().completions - before >= 2;
        ensure(both || loop->backend() == uring::Backend::epoll, "a part, and the error");
        co_return *sent;
    };
    const auto sent = loop->run(body());
    REQUIRE_FALSE(sent);
    CHECK(
        (sent.error().is(std::errc::connection_reset) || sent.error().is(std::errc::broken_pipe)));
}

TEST_CASE("sending to a peer that has gone is an error and no signal") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    far.close();
    auto body = [](Loop& on, RawFd socket) -> Task<Result<void>> {
        co_return co_await on.send_all(socket, std::as_bytes(std::span{"x", 1}));
    };
    const auto sent = loop->run(body(*loop, near.get()));
    REQUIRE_FALSE(sent);
    CHECK(sent.error().is(std::errc::broken_pipe));
    CHECK(sent.error().step() == "send");
}

TEST_CASE("accept yields an owned descriptor and a cancelled accept leaves nothing open") {
    auto loop = Loop::open().value();
    const Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto any = Address::parse("127.0.0.1:0").value();
    REQUIRE(::bind(listener.get(), any.data(), any.size()) == 0);
    REQUIRE(::listen(listener.get(), 8) == 0);
    const auto bound = Address::of_socket(listener.get()).value();
    auto body = [](Loop& on, RawFd socket, const Address& address) -> Task<bool> {
        const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const auto connected = co_await on.connect(client.get(), address);
        if (!connected) co_return false;
        const auto accepted = co_await on.accept(socket);
        if (!accepted || !*accepted) co_return false;
        const auto second = co_await on.accept(socket, Milliseconds{5});
        co_return !second && second.error().is(std::errc::timed_out);
    };
    CHECK(loop->run(body(*loop, listener.get(), bound)));
}

TEST_CASE("connecting to a port where nobody listens is refused") {
    auto loop = Loop::open().value();
    Fd closed{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto any = Address::parse("127.0.0.1:0").value();
    REQUIRE(::bind(closed.get(), any.data(), any.size()) == 0);
    const auto address = Address::of_socket(closed.get()).value();
    auto body = [](Loop& on, const Address& to) -> Task<Result<void>> {
        const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        co_return co_await on.connect(client.get(), to);
    };
    const auto connected = loop->run(body(*loop, address));
    REQUIRE_FALSE(connected);
    CHECK(connected.error().is(std::errc::connection_refused));
}
