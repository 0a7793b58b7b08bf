#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "relay_chain.h"

using namespace ringfort;
using coro::Task;
using testing::all;
using testing::Chain;
using testing::Family;
using testing::pipes;
using testing::run_relay;

namespace {

constexpr std::uint64_t bulk = 4 << 20;

/// Sends `total` bytes in pieces of every magnitude, sometimes with a rest, then ends.
Task<> write_at_random(uring::Loop& loop, net::Stream& stream, std::uint64_t total,
                       std::uint64_t seed) {
    std::mt19937_64 random{seed};
    for (std::uint64_t position = 0; position < total;) {
        const std::uint64_t size = std::min<std::uint64_t>(
            total - position, 1 + random() % (std::uint64_t{1} << (random() % 22)));
        ensure(co_await testing::write_flow(stream, position, size, seed), "write");
        position += size;
        if (random() % 8 == 0) (void)co_await loop.sleep(Milliseconds{1});
    }
    (void)stream.shutdown_write();
}

Task<> read_at_random(uring::Loop& loop, net::Stream& stream, std::uint64_t seed,
                      std::uint64_t& count) {
    std::mt19937_64 random{seed + 1};
    for (;;) {
        const std::uint64_t wanted = 1 + random() % (2 << 20);
        const auto got = co_await testing::read_flow(stream, count, wanted, seed);
        count += got;
        if (got < wanted) co_return;
        (void)co_await loop.sleep(Milliseconds{random() % 3});
    }
}

Task<> keep_flow(net::Stream& from, std::uint64_t seed, std::uint64_t& count) {
    count = co_await testing::read_flow(from, 0, all, seed);
}

Task<> write_then_end(net::Stream& to, std::uint64_t size, std::uint64_t seed) {
    (void)co_await testing::write_flow(to, 0, size, seed);
    (void)to.shutdown_write();
}

/// Moves bulk one way; returns how many bytes came out right.
Task<std::uint64_t> move_bulk(uring::Loop& loop, Chain& chain, std::uint64_t size) {
    coro::Scope scope{co_await coro::current_context()};
    std::uint64_t forward = 0;
    std::uint64_t backward = 0;
    scope.spawn(run_relay(loop, chain));
    scope.spawn(write_then_end(chain.client, size, 1));
    scope.spawn(write_then_end(chain.server, 0, 2));
    scope.spawn(keep_flow(chain.server, 1, forward));
    scope.spawn(keep_flow(chain.client, 2, backward));
    co_await scope.join();
    co_return forward;
}

void expect_nothing_left(uring::Loop& loop, const Chain& chain) {
    CHECK(loop.buffers().leased() == 0);
    testing::expect_nothing_left(chain);
}

}  // namespace

TEST_CASE("bytes pass unchanged both ways at once through switches at random sizes") {
    const auto family = GENERATE(Family::tcp, Family::unix_socket);
    const std::uint64_t seed = GENERATE(1U, 2U, 3U, 4U);
    INFO("seed " << seed);
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, family};
    constexpr std::uint64_t total = 12 << 20;
    const auto filled = pipes().filled();
    auto body = [](uring::Loop& on, Chain& c, std::uint64_t s) -> Task<bool> {
        coro::Scope scope{co_await coro::current_context()};
        std::uint64_t forward = 0;
        std::uint64_t backward = 0;
        scope.spawn(run_relay(on, c));
        scope.spawn(write_at_random(on, c.client, total, 2 * s));
        scope.spawn(write_at_random(on, c.server, total, 2 * s + 1));
        scope.spawn(read_at_random(on, c.server, 2 * s, forward));
        scope.spawn(read_at_random(on, c.client, 2 * s + 1, backward));
        co_await scope.join();
        co_return forward == total&& backward == total;
    };
    CHECK(loop->run(body(*loop, chain, seed)));
    CHECK(chain.outcome->has_value());
    CHECK(chain.totals.forward == total);
    CHECK(chain.totals.backward == total);
    CHECK(pipes().filled() - filled > total / 4);
    expect_nothing_left(*loop, chain);
}

TEST_CASE("what is bulk is spliced, a ping-pong is not, and each follows the other") {
    const auto family = GENERATE(Family::tcp, Family::unix_socket);
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, family};
    auto play = [](Chain& c, std::uint64_t position, int rounds) -> Task<bool> {
        for (int i = 0; i < rounds; ++i, position += 64) {
            (void)co_await testing::write_flow(c.client, position, 64, 7);
            if (co_await testing::read_flow(c.server, position, 64, 7) != 64) co_return false;
            (void)co_await testing::write_flow(c.server, position, 64, 8);
            if (co_await testing::read_flow(c.client, position, 64, 8) != 64) co_return false;
        }
        co_return true;
    };
    auto flood = [](net::Stream& to, std::uint64_t seed) -> Task<> {
        (void)co_await testing::write_flow(to, 0, bulk, seed);
    };
    auto body = [&](uring::Loop& on, Chain& c) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        for (std::uint64_t i = 0; i < 5; ++i) {
            // A direction that was bulk may splice the first few small pieces.
            CHECK(co_await play(c, 0, 10));
            const auto before = pipes().filled();
            CHECK(co_await play(c, 0, 100));
            CHECK(pipes().filled() == before);
            CHECK(c.blocking());
            scope.spawn(flood(c.server, i));
            CHECK(co_await testing::read_flow(c.client, 0, bulk, i) == bulk);
            CHECK(pipes().filled() - before > bulk / 2);
        }
        (void)c.client.shutdown_write();
        (void)c.server.shutdown_write();
        co_await scope.join();
    };
    loop->run(body(*loop, chain));
    CHECK(chain.outcome->has_value());
    expect_nothing_left(*loop, chain);
}

TEST_CASE("the end of a bulk direction is passed on, and the other direction goes on") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, Family::tcp};
    auto body = [](uring::Loop& on, Chain& c) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(run_relay(on, c));
        scope.spawn(write_then_end(c.client, bulk, 1));
        CHECK(co_await testing::read_flow(c.server, 0, all, 1) == bulk);
        scope.spawn(write_then_end(c.server, bulk, 2));
        CHECK(co_await testing::read_flow(c.client, 0, all, 2) == bulk);
        co_await scope.join();
    };
    loop->run(body(*loop, chain));
    CHECK(chain.outcome->has_value());
    CHECK(chain.totals.forward == bulk);
    CHECK(chain.totals.backward == bulk);
    expect_nothing_left(*loop, chain);
}

TEST_CASE("without pipes or without descriptors for them a relay copies") {
    auto loop = uring::Loop::open().value();
    Chain chain{*loop, Family::tcp};
    pipes().clear();
    const auto taken = pipes().taken();
    const auto filled = pipes().filled();
    SECTION("the limit is reached") {
        pipes().set_limit(0);
        CHECK(loop->run(move_bulk(*loop, chain, bulk)) == bulk);
        pipes().set_limit(limits::relay_pipes);
    }
    SECTION("the table of descriptors is full") {
        rlimit old{};
        ::getrlimit(RLIMIT_NOFILE, &old);
        const Fd probe{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        rlimit lowered = old;
        lowered.rlim_cur = static_cast<rlim_t>(probe.get());
        ::setrlimit(RLIMIT_NOFILE, &lowered);
        CHECK(loop->run(move_bulk(*loop, chain, bulk)) == bulk);
        ::setrlimit(RLIMIT_NOFILE, &old);
    }
    CHECK(pipes().taken() == taken);
    CHECK(pipes().filled() == filled);
    CHECK(chain.totals.forward == bulk);
    expect_nothing_left(*loop, chain);
}

TEST_CASE("two hundred bulk relays share the pipes and lose nothing") {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4'096);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    auto loop = uring::Loop::open().value();
    std::vector<std::unique_ptr<Chain>> chains;
    for (int i = 0; i < 200; ++i) chains.push_back(std::make_unique<Chain>(*loop, Family::tcp));
    constexpr std::uint64_t size = 600'000;
    auto body = [](uring::Loop& on, std::vector<std::unique_ptr<Chain>>& each) -> Task<int> {
        coro::Scope scope{co_await coro::current_context()};
        int whole = 0;
        auto one = [](uring::Loop& loop, Chain& c, int& count) -> Task<> {
            if (co_await move_bulk(loop, c, size) == size) ++count;
        };
        for (const auto& chain : each) scope.spawn(one(on, *chain, whole));
        co_await scope.join();
        co_return whole;
    };
    CHECK(loop->run(body(*loop, chains)) == 200);
    for (const auto& chain : chains) CHECK(chain->totals.forward == size);
    expect_nothing_left(*loop, *chains.front());
}
