#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "../temp_dir.h"
#include "descriptor_limit.h"
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

namespace {
constexpr Milliseconds limit{600};
}

TEST_CASE("a connect that waited for a descriptor has only what is left of its limit") {
    auto loop = uring::Loop::open().value();
    const testing::Listener full{0};  // nobody accepts: who connects beyond its queue waits
    auto body = [&](uring::Loop& on) -> Task<Instant::duration> {
        std::vector<Fd> queue;
        for (int i = 0; i < 4; ++i) {
            const Fd& fd = queue.emplace_back(
                ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
            (void)::connect(fd.get(), full.address.data(), full.address.size());
        }
        coro::Scope scope{co_await coro::current_context()};
        std::optional<Result<net::Stream>> out;
        auto connect = [](uring::Loop& in, Address to,
                          std::optional<Result<net::Stream>>& result) -> Task<> {
            result.emplace(co_await net::connect(in, to, limit));
        };
        const Instant begun = now();
        {
            const testing::DescriptorLimit none{0};
            scope.spawn(connect(on, full.address, out));
            (void)co_await on.sleep(limit * 3 / 4);
        }
        co_await scope.join();
        ensure(!*out && out->error().is(std::errc::timed_out), "it is not connected");
        co_return now() - begun;
    };
    CHECK(loop->run(body(*loop)) < limit * 3 / 2);
}

TEST_CASE("a unix socket is connected at once, or not while the queue of the listener is full") {
    auto loop = uring::Loop::open().value();
    const testing::TempDir directory;
    const Address address = Address::parse("unix:" + directory.file("socket")).value();
    const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(listener.get(), address.data(), address.size()) == 0);
    REQUIRE(::listen(listener.get(), 0) == 0);
    loop->run([](uring::Loop& on, const Address& at, RawFd from) -> Task<> {
        auto first = co_await net::connect(on, at, limit);
        CHECK(first.has_value());
        // A queue of 0 has room for one; who comes then is told at once, and does not wait.
        const Instant begun = now();
        const auto second = co_await net::connect(on, at, limit);
        CHECK(now() - begun < limit);
        CHECK_FALSE(second.has_value());
        if (!second) CHECK(second.error().is(std::errc::resource_unavailable_try_again));
        if (!first) co_return;
        CHECK((::fcntl(first->fd(), F_GETFL) & O_NONBLOCK) == 0);  // as a stream has to be
        const Fd peer{::accept(from, nullptr, nullptr)};
        CHECK(::send(peer.get(), "hi", 2, 0) == 2);
        const auto chunk = co_await first->receive(limit);
        CHECK((chunk && chunk->text() == "hi"));
    }(*loop, address, listener.get()));
}
