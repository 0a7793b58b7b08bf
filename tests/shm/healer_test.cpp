#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

using testing::Place;
using testing::place;

constexpr std::uint32_t holder = (1U << 30) - 1;

void heal(const Pool& keeper) {
    Healer healer{keeper};
    for (int steps = 0; healer.step().value() != Healing::through;) REQUIRE(++steps < 10'000);
}

}  // namespace

TEST_CASE("a healer lets go of the shared locks of dead writers, and says that they died") {
    Place here = place(1 << 16, 4);
    const SharedLock first = SharedLock::create(here.pool, 3).value();
    const SharedLock last = SharedLock::create(here.pool, limits::pool_roots - 1).value();
    const Pool dying = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    const Pool living = Pool::attach(here.zone, here.pool.admit(1, {}).value()).value();
    const SharedLock dead = SharedLock::open(dying, 3).value();
    const SharedLock other = SharedLock::open(living, limits::pool_roots - 1).value();
    const WriteGuard left = dead.lock().value();
    const WriteGuard kept = other.lock().value();
    static_cast<void>(here.pool.bury(0).value());
    const std::uint32_t* const word = ReadWaiter{first}.word();
    REQUIRE((*word & holder) != 0);
    heal(here.pool);
    REQUIRE((*word & holder) == 0);
    REQUIRE(first.lock_shared(0ms).error().is(std::errc::owner_dead));
    {
        WriteGuard writing = first.lock(0ms).value();
        REQUIRE(writing.recovered());
        writing.repaired();
    }
    REQUIRE(first.lock_shared(0ms));
    // A living one keeps what it has.
    REQUIRE(last.lock(0ms).error().is(std::errc::timed_out));
}

TEST_CASE("a healer gives back what dead owners held in all limiters of a pool") {
    const Place here = place(1 << 20, 4);
    auto& zone = const_cast<Zone&>(here.zone);
    const Pool& keeper = here.pool;
    const auto kept = MapOf<std::string, std::uint64_t>::create(keeper, 1).value();
    kept.put("untouched", 7).value();
    const auto first = ConnectionLimiter::create(keeper, 0, {.buckets = 1'024}).value();
    const auto last = ConnectionLimiter::create(keeper, limits::pool_roots - 1).value();
    const Pool dead = Pool::attach(zone, keeper.admit(0, {}).value()).value();
    const Pool living = Pool::attach(zone, keeper.admit(1, {}).value()).value();
    for (int i = 0; i < 500; ++i) {
        const std::string key = std::to_string(i);
        REQUIRE(ConnectionLimiter::open(dead, 0).value().acquire(key, 9).value());
        REQUIRE(ConnectionLimiter::open(living, 0).value().acquire(key, 9).value());
    }
    REQUIRE(ConnectionLimiter::open(dead, limits::pool_roots - 1).value().acquire("x", 9).value());
    static_cast<void>(keeper.bury(0).value());
    Healer healer{keeper};
    {
        const Transaction held = living.begin().value();
        REQUIRE(healer.step().value() == Healing::refused);  // nor does it wait
    }
    int steps = 0;
    while (healer.step().value() != Healing::through) REQUIRE(++steps < 10'000);
    for (int i = 0; i < 500; ++i) REQUIRE(first.count(std::to_string(i)).value() == 1);
    REQUIRE(last.count("x").value() == 0);
    REQUIRE(kept.get("untouched").value().value() == 7);
    REQUIRE(healer.step().value() == Healing::through);
    keeper.check().value();
}
