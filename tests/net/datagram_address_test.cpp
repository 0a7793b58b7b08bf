// Which of the machine's addresses a datagram was sent to, and how a listener's socket is let go
// of.
#include <netinet/in.h>
#include <poll.h>
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
#include <string_view>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

using namespace ringfort;
using coro::Task;
using net::Datagram;

namespace {

constexpr Milliseconds patience{5'000};

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

/// A socket as the master makes it: bound, and told to say where datagrams were sent to.
Fd bound(const Address& address) {
    Fd socket{::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const int on = 1;
    const bool six = address.family() == AF_INET6;
    ensure(::setsockopt(socket.get(), six ? IPPROTO_IPV6 : IPPROTO_IP,
                        six ? IPV6_RECVPKTINFO : IP_PKTINFO, &on, sizeof on) == 0,
           "setsockopt");
    ensure(::bind(socket.get(), address.data(), address.size()) == 0, "bind");
    return socket;
}

/// The address of `host` with the port of a socket.
Address at(const std::string& host, const Fd& socket) {
    const auto port = Address::of_socket(socket.get()).value().port();
    return Address::parse(host + ":" + std::to_string(port)).value();
}

bool has_waiting(RawFd socket) {
    pollfd polled{.fd = socket, .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, 0) > 0;
}

/// Waits until the loop has received all that was sent to the socket; false when it has not.
Task<bool> all_received(uring::Loop& loop, RawFd socket) {
    for (int i = 0; i < 500; ++i) {
        if (!has_waiting(socket)) co_return true;
        (void)co_await loop.sleep(Milliseconds{1});
    }
    co_return false;
}

}  // namespace

TEST_CASE("an answer leaves from the address that was written to, not from the nearest one") {
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        Fd socket = bound(Address::parse("*:0").value());
        const Address second = at("127.0.0.2", socket);
        auto server = Datagram::adopt(on, std::move(socket)).value();
        auto client = Datagram::connect(on, second).value();  // takes answers from there alone
        ensure((co_await client.send(bytes_of("ping"))).has_value(), "send");
        const auto packet = co_await server.receive(patience);
        REQUIRE(packet);
        CHECK(packet->local.host() == "127.0.0.2");
        const Address none;
        const auto astray =
            co_await server.send_from(none, packet->sender, bytes_of("from the nearest"));
        CHECK(astray);
        const auto sent =
            co_await server.send_from(packet->local, packet->sender, bytes_of("pong"));
        CHECK(sent);
        const auto answer = co_await client.receive(patience);
        REQUIRE(answer);
        CHECK(answer->bytes.text() == "pong");
        const Address foreign = Address::parse("192.0.2.1:0").value();
        const auto refused = co_await server.send_from(foreign, packet->sender, bytes_of("no"));
        CHECK_FALSE(refused);
    };
    loop->run(body(*loop));
}

TEST_CASE("an answer of IPv6 leaves from the address that was written to") {
    const Fd probe{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const Address loopback = Address::parse("[::1]:0").value();
    if (::bind(probe.get(), loopback.data(), loopback.size()) != 0) SKIP("no IPv6 here");
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        Fd socket = bound(Address::parse("[::]:0").value());
        const Address to = at("[::1]", socket);
        auto server = std::make_shared<Datagram>(Datagram::adopt(on, std::move(socket)).value());
        auto client = Datagram::connect(on, to).value();
        ensure((co_await client.send(bytes_of("ping"))).has_value(), "send");
        auto packet = co_await server->receive(patience);
        REQUIRE(packet);
        CHECK(packet->local.host() == "::1");
        net::Delivery delivery{server, *std::move(packet)};
        CHECK(delivery.sender() == client.address().value());
        CHECK(co_await delivery.reply(delivery.bytes()));
        const auto answer = co_await client.receive(patience);
        REQUIRE(answer);
        CHECK(answer->bytes.text() == "ping");
    };
    loop->run(body(*loop));
}

TEST_CASE("a socket that says nothing of addresses is answered from as the kernel has it") {
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        const Address any = Address::parse("127.0.0.1:0").value();
        auto server = std::make_shared<Datagram>(Datagram::bind(on, any).value());
        auto client = Datagram::connect(on, server->address().value()).value();
        ensure((co_await client.send(bytes_of("ping"))).has_value(), "send");
        auto packet = co_await server->receive(patience);
        REQUIRE(packet);
        CHECK(packet->local.family() == AF_UNSPEC);
        net::Delivery delivery{server, *std::move(packet)};
        CHECK(co_await delivery.reply(bytes_of("pong")));
        const auto answer = co_await client.receive(patience);
        REQUIRE(answer);
        CHECK(answer->bytes.text() == "pong");
    };
    loop->run(body(*loop));
}

TEST_CASE("what was received before the last is asked for comes; the rest is left in the socket") {
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        Fd socket = bound(Address::parse("127.0.0.1:0").value());
        const Address to = at("127.0.0.1", socket);
        const Fd other = socket.duplicate().value();  // as another process has it
        auto server = Datagram::adopt(on, std::move(socket)).value();
        auto client = Datagram::connect(on, to).value();
        for (char c = 'a'; c < 'f'; ++c)
            ensure((co_await client.send(bytes_of(std::string(1, c)))).has_value(), "send");
        const auto first = co_await server.receive(patience);
        REQUIRE(first);
        CHECK(first->bytes.text() == "a");
        CHECK(co_await all_received(on, other.get()));
        std::string rest;
        for (;;) {
            auto packet = co_await server.last();
            REQUIRE(packet);
            if (!*packet) break;
            rest += (*packet)->bytes.text();
        }
        CHECK(rest == "bcde");
        ensure((co_await client.send(bytes_of("for others"))).has_value(), "send");
        CHECK_FALSE(co_await all_received(on, other.get()));
        // And it goes on when it is asked to.
        const auto again = co_await server.receive(patience);
        REQUIRE(again);
        CHECK(again->bytes.text() == "for others");
        const auto end = co_await server.last();
        REQUIRE(end);
        CHECK_FALSE(end->has_value());
    };
    loop->run(body(*loop));
}
