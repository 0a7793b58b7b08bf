#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "relay_chain.h"

using namespace ringfort;
using coro::Task;
using testing::all;
using testing::Chain;
using testing::expect_nothing_left;
using testing::Family;
using testing::pipes;
using testing::run_relay;

namespace {

constexpr std::uint64_t flood = 64 << 20;
constexpr Milliseconds idle_limit{400};

std::ptrdiff_t open_descriptors() {
    namespace fs = std::filesystem;
    return std::distance(fs::directory_iterator{"/proc/self/fd"}, fs::directory_iterator{});
}

Task<> write_while_possible(net::Stream& to, std::uint64_t seed) {
    (void)co_await testing::write_flow(to, 0, flood, seed);
}

}  // namespace

TEST_CASE("a relay that is cancelled at any moment leaves nothing behind") {
    const auto family = GENERATE(Family::tcp, Family::unix_socket);
    auto body = [](uring::Loop& on, Chain& c, std::uint64_t until) -> Task<> {
        coro::Scope writers{co_await coro::current_context()};
        coro::Scope relay{co_await coro::current_context()};
        relay.spawn(run_relay(on, c));
        writers.spawn(write_while_possible(c.client, 3));
        writers.spawn(write_while_possible(c.server, 4));
        // Its reader decides when; nobody reads the other way.
        CHECK(co_await testing::read_flow(c.server, 0, until, 3) >= until);
        relay.cancel();
        co_await relay.join();
        writers.cancel();
        co_await writers.join();
    };
    for (std::uint64_t i = 0; i < 60; ++i) {
        pipes().clear();
        const auto before = open_descriptors();
        {
            auto loop = uring::Loop::open().value();
            {
                Chain chain{*loop, family};
                loop->run(body(*loop, chain, 1 + i * i * 700));
                REQUIRE_FALSE(*chain.outcome);
                CHECK(chain.outcome->error().is(std::errc::operation_canceled));
                expect_nothing_left(chain);
            }
            CHECK(loop->buffers().leased() == 0);
        }
        pipes().clear();
        CHECK(open_descriptors() == before);
    }
}

TEST_CASE("what a cancelled relay counts is what its reader can read") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, Family::tcp};
    auto body = [](uring::Loop& on, Chain& c) -> Task<std::uint64_t> {
        coro::Scope writers{co_await coro::current_context()};
        coro::Scope relay{co_await coro::current_context()};
        relay.spawn(run_relay(on, c));
        writers.spawn(write_while_possible(c.client, 3));
        const auto early = co_await testing::read_flow(c.server, 0, 3 << 20, 3);
        (void)co_await on.sleep(Milliseconds{20});  // the pipe is full, and nobody reads
        relay.cancel();
        co_await relay.join();
        writers.cancel();
        co_await writers.join();
        (void)::shutdown(c.right.fd(), SHUT_WR);
        co_return early + co_await testing::read_flow(c.server, early, all, 3);
    };
    const auto read = loop->run(body(*loop, chain));
    CHECK(read == chain.totals.forward);
    expect_nothing_left(chain);
}

TEST_CASE("a peer that resets a bulk relay ends it, and the other side is reset too") {
    const bool reader = GENERATE(true, false);
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, Family::tcp};
    auto body = [](uring::Loop& on, Chain& c, bool of_reader) -> Task<std::error_code> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        std::optional<net::Stream> client{std::move(c.client)};
        std::optional<net::Stream> server{std::move(c.server)};
        coro::Scope writers{co_await coro::current_context()};
        std::optional<Result<void>> written;
        auto write = [](net::Stream& to, std::optional<Result<void>>& out) -> Task<> {
            const std::string piece(1 << 20, 'x');
            do out = co_await to.send_all(piece);
            while (*out);
        };
        writers.spawn(write(*client, written));
        for (std::size_t got = 0; got < 3U << 20;) {
            const auto chunk = co_await server->receive();
            ensure(chunk && !chunk->empty(), "receive");
            got += chunk->size();
        }
        if (!of_reader) {
            writers.cancel();
            co_await writers.join();
        }
        auto& gone = of_reader ? server : client;
        gone->reset_on_close();
        gone.reset();
        // A reader that goes on: the relay has nothing that it cannot get rid of.
        coro::Scope readers{co_await coro::current_context()};
        std::error_code read;
        auto read_on = [](net::Stream& from, std::error_code& out) -> Task<> {
            for (;;) {
                const auto chunk = co_await from.receive();
                if (!chunk) out = chunk.error().code();
                if (!chunk || chunk->empty()) co_return;
            }
        };
        if (!of_reader) readers.spawn(read_on(*server, read));
        co_await scope.join();
        {
            const net::Stream left = std::move(c.left);
            const net::Stream right = std::move(c.right);
        }
        co_await writers.join();
        co_await readers.join();
        co_return of_reader ? written->error().code() : read;
    };
    const std::error_code seen = loop->run(body(*loop, chain, reader));
    const bool told = seen == std::errc::connection_reset || seen == std::errc::broken_pipe;
    CHECK(told);
    REQUIRE_FALSE(*chain.outcome);
    CHECK(pipes().lent() == 0);
    CHECK(loop->buffers().leased() == 0);
}

TEST_CASE("a slow reader that takes bytes is not idle, and one that stops is") {
    const auto family = GENERATE(Family::tcp, Family::unix_socket);
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, family};
    // A large window is opened again only when a quarter of it is free: that would be too slow.
    const int window = 256 << 10;
    (void)::setsockopt(chain.server.fd(), SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    auto body = [](uring::Loop& on, Chain& c) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c, idle_limit));
        scope.spawn(write_while_possible(c.client, 3));
        std::uint64_t position = 0;
        for (int i = 0; i < 25; ++i) {
            (void)co_await on.sleep(Milliseconds{40});
            position += co_await testing::read_flow(c.server, position, 200'000, 3);
        }
        CHECK_FALSE(c.outcome.has_value());
        const Instant stopped = now();
        while (!c.outcome && now() - stopped < Milliseconds{8'000})
            (void)co_await on.sleep(Milliseconds{5});
        REQUIRE(c.outcome.has_value());
        CHECK(now() - stopped < 4 * idle_limit);
        scope.cancel();
        co_await scope.join();
    };
    loop->run(body(*loop, chain));
    REQUIRE_FALSE(*chain.outcome);
    CHECK(chain.outcome->error().is(std::errc::timed_out));
    expect_nothing_left(chain);
}

TEST_CASE("a writer that resets while its reader stands still ends a relay without an idle limit") {
    // Copied; about to be spliced, with a reader that takes little at a time; spliced.
    const std::uint64_t read_before = GENERATE(0U, 300U << 10, 3U << 20);
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, Family::tcp};
    if (read_before == 300U << 10) {
        const int little = 8 << 10;
        (void)::setsockopt(chain.right.fd(), SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
        (void)::setsockopt(chain.server.fd(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    }
    auto body = [](uring::Loop& on, Chain& c, std::uint64_t read) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        {
            net::Stream client = std::move(c.client);
            coro::Scope writers{co_await coro::current_context()};
            writers.spawn(write_while_possible(client, 3));
            CHECK(co_await testing::read_flow(c.server, 0, read, 3) >= read);
            (void)co_await on.sleep(Milliseconds{100});  // until nothing moves any more
            writers.cancel();
            co_await writers.join();
            CHECK_FALSE(c.outcome.has_value());
            client.reset_on_close();
        }
        const Instant gone = now();
        while (!c.outcome && now() - gone < 5 * limits::relay_stall_ms)
            (void)co_await on.sleep(Milliseconds{5});
        CHECK(c.outcome.has_value());
        scope.cancel();
        co_await scope.join();
    };
    loop->run(body(*loop, chain, read_before));
    REQUIRE(chain.outcome.has_value());
    REQUIRE_FALSE(*chain.outcome);
    CHECK(chain.outcome->error().is(std::errc::connection_reset));
    expect_nothing_left(chain);
}
