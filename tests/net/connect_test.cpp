#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "listener.h"

using namespace ringfort;
using coro::Task;

TEST_CASE("a connected stream talks to the accepted one and sees its end") {
    auto loop = uring::Loop::open().value();
    const testing::Listener listener;
    auto body = [](uring::Loop& on, const testing::Listener& at) -> Task<std::string> {
        net::Acceptor acceptor{on, at.socket.get()};
        auto client = co_await net::connect(on, at.address, Milliseconds{1'000});
        ensure(client.has_value(), "connect");
        auto server = co_await acceptor.accept();
        ensure(server.has_value(), "accept");
        ensure(server->peer()->text() == Address::of_socket(client->fd())->text(), "peer");
        const std::span<const std::byte> pieces[] = {std::as_bytes(std::span{"pi", 2}),
                                                     std::as_bytes(std::span{"ng", 2})};
        ensure((co_await client->send_all(pieces)).has_value(), "send");
        ensure(client->shutdown_write().has_value(), "shutdown");
        std::string text;
        while (auto chunk = co_await server->receive()) {
            if (chunk->empty()) break;
            text += chunk->text();
        }
        co_return text;
    };
    CHECK(loop->run(body(*loop, listener)) == "ping");
}

TEST_CASE("connecting where nobody listens says so") {
    auto loop = uring::Loop::open().value();
    Address address;
    {
        const testing::Listener gone;
        address = gone.address;
    }
    const auto stream = loop->run(net::connect(*loop, address));
    REQUIRE_FALSE(stream);
    CHECK(stream.error().text() == "connect: Connection refused");
}
