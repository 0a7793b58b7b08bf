#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
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

struct Both {
    Place here = place(1 << 16, 2);
    SharedLock first = SharedLock::create(here.pool, 0).value();
    Pool other = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    SharedLock second = SharedLock::open(other, 0).value();
};

}  // namespace

TEST_CASE("a writer that waits for readers without sleeping is told what to wait on") {
    Both both;
    std::optional<ReadGuard> reader{both.first.lock_shared().value()};
    WriteWaiter waiter{both.second};
    waiter.attempt().value();
    REQUIRE_FALSE(waiter.taken().has_value());
    const std::uint32_t seen = waiter.expected();
    REQUIRE(*waiter.word() == seen);
    // It keeps new readers out, and those that are there may leave, which changes the word.
    ReadWaiter late{both.first};
    reader.reset();
    REQUIRE(*waiter.word() != seen);
    late.attempt().value();
    REQUIRE_FALSE(late.taken().has_value());
    waiter.attempt().value();
    std::optional<WriteGuard> writer = waiter.taken();
    REQUIRE(writer.has_value());
    REQUIRE_FALSE(writer->recovered());
    REQUIRE_FALSE(waiter.taken().has_value());

    late.attempt().value();
    REQUIRE_FALSE(late.taken().has_value());
    REQUIRE(*late.word() == late.expected());
    writer.reset();
    REQUIRE(*late.word() != late.expected());
    late.attempt().value();
    REQUIRE(late.taken().has_value());
}

TEST_CASE("a waiter that goes away leaves a shared lock to others") {
    Both both;
    {
        WriteWaiter waiter{both.second};
        waiter.attempt().value();  // has it, and nobody asks for it
    }
    {
        ReadWaiter waiter{both.second};
        waiter.attempt().value();
    }
    static_cast<void>(both.first.lock(Milliseconds{0}).value());
    {
        const ReadGuard reader = both.first.lock_shared().value();
        WriteWaiter waiter{both.second};
        waiter.attempt().value();
        REQUIRE_FALSE(waiter.taken().has_value());
    }
    static_cast<void>(both.first.lock_shared(Milliseconds{0}).value());
}

TEST_CASE("who waits for a shared lock that it has is told so") {
    Both both;
    const WriteGuard writer = both.first.lock().value();
    WriteWaiter again{both.first};
    REQUIRE(again.attempt().error().is(std::errc::resource_deadlock_would_occur));
    ReadWaiter reading{both.first};
    REQUIRE(reading.attempt().error().is(std::errc::resource_deadlock_would_occur));
}
