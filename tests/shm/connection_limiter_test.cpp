#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using testing::Place;
using testing::place;

std::uint64_t used_blocks(const Pool& pool) {
    std::uint64_t used = 0;
    const PoolStatistics statistics = pool.statistics().value();
    for (const BlockStatistics& each : statistics.sizes) used += each.used;
    return used;
}

}  // namespace

TEST_CASE("no more are held over all workers than the limit") {
    Place here = place(1 << 18, 4);
    const ConnectionLimiter one = ConnectionLimiter::create(here.pool, 0).value();
    const std::uint64_t used = used_blocks(here.pool);
    const Pool other = Pool::attach(here.zone, here.pool.admit(1, {}).value()).value();
    const ConnectionLimiter two = ConnectionLimiter::open(other, 0).value();
    REQUIRE(one.acquire("client", 3).value());
    REQUIRE(two.acquire("client", 3).value());
    REQUIRE(two.acquire("client", 3).value());
    REQUIRE_FALSE(one.acquire("client", 3).value());
    REQUIRE_FALSE(one.acquire("nobody", 0).value());
    REQUIRE(one.count("client").value() == 3);
    REQUIRE(one.count("nobody").value() == 0);
    one.release("client").value();
    REQUIRE(one.release("client").error().is(std::errc::no_such_file_or_directory));
    REQUIRE(one.acquire("client", 3).value());
    one.release("client").value();
    two.release("client").value();
    two.release("client").value();
    REQUIRE(two.release("client").error().is(std::errc::no_such_file_or_directory));
    REQUIRE(one.count("client").value() == 0);
    REQUIRE(used_blocks(here.pool) == used);
    const std::string longest(limits::max_limited_key, 'k');
    REQUIRE(one.acquire(longest, 1).value());
    REQUIRE(one.acquire(longest + "k", 1).error().is(std::errc::invalid_argument));
}

TEST_CASE("what a dead worker held is given back, and what the living hold is not") {
    Place here = place(1 << 18, 4);
    const ConnectionLimiter limiter =
        ConnectionLimiter::create(here.pool, 0, {.buckets = 2}).value();
    std::mt19937 random{5};
    std::array<std::map<std::string, std::uint64_t>, 3> held;
    for (std::uint32_t row = 0; row < 3; ++row) {
        const Pool worker = Pool::attach(here.zone, here.pool.admit(row, {}).value()).value();
        const ConnectionLimiter own = ConnectionLimiter::open(worker, 0).value();
        for (int n = 0; n < 60; ++n) {
            const std::string key = std::to_string(random() % 20);
            REQUIRE(own.acquire(key, 1'000).value());
            ++held[row][key];
        }
    }
    REQUIRE(limiter.heal().value() == 0);
    REQUIRE_FALSE(here.pool.bury(1).value());
    // Its successor in the row is another.
    const Pool next = Pool::attach(here.zone, here.pool.admit(1, {}).value()).value();
    REQUIRE(ConnectionLimiter::open(next, 0)->acquire("0", 1'000).value());
    ++held[0]["0"];
    REQUIRE(limiter.heal().value() == 60);
    REQUIRE(limiter.heal().value() == 0);
    for (int n = 0; n < 20; ++n) {
        const std::string key = std::to_string(n);
        REQUIRE(limiter.count(key).value() == held[0][key] + held[2][key]);
    }
    here.pool.check().value();
}

TEST_CASE("a worker that is killed leaves no count behind") {
    Place here = place(1 << 18, 4);
    const ConnectionLimiter limiter = ConnectionLimiter::create(here.pool, 0).value();
    const Pool worker = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const Result<ConnectionLimiter> own = ConnectionLimiter::open(worker, 0);
        if (!own || !own->acquire("a", 9) || !own->acquire("b", 9)) ::_exit(1);
        ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    REQUIRE(limiter.count("a").value() == 1);
    static_cast<void>(here.pool.bury(0).value());
    REQUIRE(limiter.heal().value() == 2);
    REQUIRE(limiter.count("a").value() == 0);
}

TEST_CASE("a limiter without room counts nothing rather than half") {
    Place here = place(16'384, 4);
    const ConnectionLimiter limiter =
        ConnectionLimiter::create(here.pool, 0, {.buckets = 4}).value();
    std::uint64_t count = 0;
    for (;; ++count) {
        const auto held = limiter.acquire("client " + std::to_string(count), 5);
        if (!held) break;
        REQUIRE(*held);
    }
    REQUIRE(limiter.acquire("x", 5).error().is(std::errc::not_enough_memory));
    REQUIRE(limiter.count("client " + std::to_string(count)).value() == 0);
    REQUIRE(limiter.count("client 0").value() == 1);
    here.pool.check().value();
}

TEST_CASE("a count that there is no room for changes nothing, whatever else is committed with it") {
    for (int odd = 0; odd < 2; ++odd) {
        const Place here = place(12'000, 4);
        const ConnectionLimiter limiter =
            ConnectionLimiter::create(here.pool, 0, {.buckets = 16}).value();
        if (odd == 1) {
            Transaction transaction = here.pool.begin().value();
            REQUIRE(transaction.allocate(64) != 0);
            transaction.commit().value();
        }
        std::uint32_t held = 0;
        for (bool full = false; !full; ++held) {
            const std::string key = "key " + std::to_string(100 + held);
            Transaction transaction = here.pool.begin().value();
            const Result<bool> counted = limiter.acquire(transaction, key, 1);
            full = !counted;
            if (full) REQUIRE(counted.error().is(std::errc::not_enough_memory));
            transaction.commit().value();
            REQUIRE(limiter.count(key).value() == (full ? 0 : 1));
            REQUIRE((limiter.release(key).has_value()) == !full);
            if (!full) REQUIRE(limiter.acquire(key, 1).value());
        }
        REQUIRE(held > 10);
        here.pool.check().value();
    }
}

TEST_CASE("what the dead held is given back in parts that wait for nobody") {
    Place here = place(1 << 18, 4);
    const ConnectionLimiter limiter =
        ConnectionLimiter::create(here.pool, 0, {.buckets = 256}).value();
    const Pool dying = Pool::attach(here.zone, here.pool.admit(1, {}).value()).value();
    const ConnectionLimiter own = ConnectionLimiter::open(dying, 0).value();
    for (int n = 0; n < 100; ++n) REQUIRE(own.acquire("key " + std::to_string(n), 9).value());
    REQUIRE(limiter.acquire("key 7", 9).value());
    static_cast<void>(here.pool.bury(1).value());
    std::uint32_t cursor = 0;
    {
        const Guard held = here.pool.lock().lock().value();
        REQUIRE_FALSE(limiter.heal_some(cursor).value());
        REQUIRE(cursor == 0);
    }
    std::uint32_t calls = 1;
    while (!limiter.heal_some(cursor).value()) ++calls;
    REQUIRE(calls >= 256 / limits::map_sweep_buckets);
    for (int n = 0; n < 100; ++n)
        REQUIRE(limiter.count("key " + std::to_string(n)).value() == (n == 7 ? 1 : 0));
    REQUIRE(limiter.heal().value() == 0);
}
