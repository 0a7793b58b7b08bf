#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
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

using namespace ringfort;
using coro::Task;
using uring::Loop;

namespace {

Task<> receive_into(Loop& loop, RawFd socket, std::optional<Result<uring::Lease>>& out,
                    std::optional<Milliseconds> limit = {}) {
    out.emplace(co_await loop.receive(socket, limit));
}

}  // namespace

TEST_CASE("a receive that is cancelled ends with ECANCELED after the kernel has let go") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    auto body = [](Loop& on, RawFd socket, std::optional<Result<uring::Lease>>& out) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive_into(on, socket, out));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
    };
    std::optional<Result<uring::Lease>> out;
    loop->run(body(*loop, near.get(), out));
    REQUIRE(out);
    REQUIRE_FALSE(*out);
    CHECK(out->error().is(std::errc::operation_canceled));
}

TEST_CASE("bytes that arrive before a cancel request takes effect are delivered") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    auto body = [](Loop& on, RawFd socket, RawFd peer,
                   std::optional<Result<uring::Lease>>& out) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive_into(on, socket, out));
        (void)co_await on.sleep(Milliseconds{1});
        ensure(::write(peer, "late", 4) == 4, "write");
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
    };
    std::optional<Result<uring::Lease>> out;
    loop->run(body(*loop, near.get(), far.get(), out));
    REQUIRE(out);
    REQUIRE(*out);
    CHECK((*out)->text() == "late");
    out.reset();
}

TEST_CASE("a receive past its time limit ends with ETIMEDOUT") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    std::optional<Result<uring::Lease>> out;
    const Instant begin = now();
    loop->run(receive_into(*loop, near.get(), out, Milliseconds{20}));
    CHECK(now() - begin >= Milliseconds{19});
    REQUIRE_FALSE(*out);
    CHECK(out->error().is(std::errc::timed_out));
}

TEST_CASE("an empty lease is the end of the stream") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    far.close();
    std::optional<Result<uring::Lease>> out;
    loop->run(receive_into(*loop, near.get(), out));
    REQUIRE(*out);
    CHECK((*out)->empty());
    out.reset();
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a large send goes on after short writes until every byte is gone") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    std::string payload(8 << 20, '\0');
    for (std::size_t i = 0; i < payload.size(); ++i)
        payload[i] = static_cast<char>(i * 7 + i / 4096);
    auto reader = [](Loop& on, RawFd socket, std::string& out) -> Task<> {
        for (;;) {
            auto chunk = co_await on.receive(socket);
            if (!chunk || chunk->empty()) co_return;
            out += chunk->text();
        }
    };
    auto body = [&reader](Loop& on, RawFd from, RawFd to, const std::string& bytes,
                          std::string& out) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(reader(on, to, out));
        const auto sent = co_await on.send_all(from, std::as_bytes(std::span{bytes}));
        ensure(sent.has_value(), "send");
        ::shutdown(from, SHUT_WR);
        co_await scope.join();
    };
    std::string received;
    loop->run(body(*loop, near.get(), far.get(), payload, received));
    CHECK(received == payload);
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
