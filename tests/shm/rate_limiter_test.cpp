#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
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
using namespace std::chrono_literals;

namespace {

using testing::Place;
using testing::place;

Instant at(std::chrono::nanoseconds time) {
    return Instant{time};
}

}  // namespace

TEST_CASE("a bucket gives its burst at once, and then as much as flows in") {
    const Place here = place(1 << 18);
    const RateLimiter limiter = RateLimiter::create(here.pool, 0).value();
    const Rate rate{.tokens = 10, .per = 1s, .burst = 3};
    const auto take = [&](std::chrono::nanoseconds time, std::uint64_t tokens = 1) {
        return limiter.take("client", rate, at(10s + time), tokens).value();
    };
    for (int n = 0; n < 3; ++n) REQUIRE(take(0ms).allowed);
    REQUIRE_FALSE(take(0ms).allowed);
    REQUIRE(take(0ms).retry_after == 100ms);
    REQUIRE(take(1ns).retry_after == 100ms);
    REQUIRE(take(30ms).retry_after == 70ms);
    REQUIRE_FALSE(take(100ms - 1ns).allowed);
    REQUIRE(take(100ms).allowed);
    REQUIRE_FALSE(take(100ms).allowed);
    REQUIRE(take(250ms, 0).allowed);
    REQUIRE(take(300ms, 2).allowed);
    REQUIRE_FALSE(take(300ms).allowed);
    REQUIRE(take(10s, 3).allowed);
    REQUIRE_FALSE(take(10s).allowed);
    REQUIRE(take(20s, 4).retry_after == Milliseconds::max());
    REQUIRE(limiter.take("other", rate, at(10s)).value().allowed);
    REQUIRE(limiter.size().value() == 2);
    REQUIRE(limiter.expire(at(100s)).value() == 2);
}

TEST_CASE("the limiter agrees with buckets of plain numbers") {
    const Place here = place(1 << 18);
    const RateLimiter limiter = RateLimiter::create(here.pool, 0, {.buckets = 4}).value();
    const Rate rate{.tokens = 4, .per = 1s, .burst = 5};
    struct Bucket {
        double tokens = 5;
        std::int64_t filled_ms = 1'000;
    };
    std::map<std::string, Bucket> model;
    std::mt19937 random{9};
    std::int64_t time_ms = 1'000;
    int refused = 0;
    for (int n = 0; n < 5'000; ++n) {
        time_ms += static_cast<std::int64_t>(random() % 4) * 25;  // 250 ms a token: exact in binary
        const std::string key(1, static_cast<char>('a' + random() % 5));
        const std::uint64_t tokens = 1 + random() % 2;
        Bucket& bucket = model[key];
        bucket.tokens =
            std::min(5.0, bucket.tokens + static_cast<double>(time_ms - bucket.filled_ms) / 250.0);
        bucket.filled_ms = time_ms;
        const bool expected = bucket.tokens > static_cast<double>(tokens) - 1e-6;
        if (expected) bucket.tokens -= static_cast<double>(tokens);
        refused += expected ? 0 : 1;
        REQUIRE(limiter.take(key, rate, at(std::chrono::milliseconds{time_ms}), tokens)
                    .value()
                    .allowed == expected);
    }
    REQUIRE(refused > 100);
    REQUIRE(refused < 4'900);
}

TEST_CASE("a rate that changes takes effect on buckets that are there") {
    const Place here = place(1 << 18);
    const RateLimiter limiter = RateLimiter::create(here.pool, 0).value();
    const Rate slow{.tokens = 1, .per = 1h, .burst = 10};
    REQUIRE(limiter.take("client", slow, at(1s), 10).value().allowed);
    const Rate fast{.tokens = 10, .per = 1s, .burst = 10};
    REQUIRE(limiter.take("client", fast, at(1s)).value().retry_after == 100ms);
    REQUIRE(limiter.take("client", fast, at(1s + 100ms)).value().allowed);
    REQUIRE_FALSE(limiter.take("client", fast, at(1s + 100ms)).value().allowed);
    REQUIRE(RateLimiter::open(here.pool, 0)->size().value() == 1);
}

TEST_CASE("rates of nothing, too fast or too slow are refused") {
    const Place here = place(1 << 18);
    const RateLimiter limiter = RateLimiter::create(here.pool, 0).value();
    for (const Rate rate : {Rate{0, 1s, 1}, Rate{1, 0s, 1}, Rate{1, -1s, 1}, Rate{1, 1s, 0},
                            Rate{2'000'000'000, 1s, 1}, Rate{1, Milliseconds::max(), 1},
                            Rate{1, 24h, 36'601}, Rate{~0ULL, 1s, 1}, Rate{1, 1s, ~0ULL}})
        REQUIRE(limiter.take("client", rate, at(1s)).error().is(std::errc::invalid_argument));
    REQUIRE(limiter.take("client", Rate{1'000'000'000, 1s, 1}, at(1s)).value().allowed);
    REQUIRE(limiter.take("client", Rate{1, 24h, 36'500}, at(1s)).value().allowed);
}

TEST_CASE("a pool that is full of buckets makes room of those that are full again") {
    const Place here = place(12'000);
    const RateLimiter limiter = RateLimiter::create(here.pool, 0, {.buckets = 16}).value();
    const Rate rate{.tokens = 1, .per = 1s, .burst = 1};
    std::uint64_t count = 0;
    for (;; ++count) {
        const auto verdict = limiter.take("key " + std::to_string(count), rate, at(1s));
        if (!verdict) {
            REQUIRE(verdict.error().is(std::errc::not_enough_memory));
            break;
        }
        REQUIRE(verdict->allowed);
    }
    REQUIRE(count > 50);
    REQUIRE_FALSE(limiter.take("key 3", rate, at(1s)).value().allowed);
    REQUIRE(limiter.take("another", rate, at(2s)).value().allowed);
    // Of a few of them, that is: nobody pays for all.
    REQUIRE(limiter.size().value() == count - limits::map_sweep_entries + 1);
    REQUIRE(limiter.expire(at(3s)).value() > 0);
    REQUIRE(limiter.size().value() == 0);
}

TEST_CASE("a key that finds no room looks for it in a part of the buckets") {
    const Place here = place(1 << 16);
    constexpr std::uint32_t part = limits::rate_sweeps * limits::map_sweep_buckets;
    const RateLimiter limiter = RateLimiter::create(here.pool, 0, {.buckets = 4 * part}).value();
    const Rate brief{.tokens = 1, .per = 1s, .burst = 1};
    const Rate slow{.tokens = 1, .per = 1h, .burst = 1};
    REQUIRE(limiter.take("brief", brief, at(1s)).value().allowed);
    for (std::uint64_t n = 0; limiter.take("key " + std::to_string(n), slow, at(1s)); ++n) {
    }
    // The one that is full again is found by one of these.
    std::uint32_t refused = 0;
    while (!limiter.take("another", slow, at(3s))) ++refused;
    REQUIRE(refused < 4);
    REQUIRE(limiter.take("yet another", slow, at(3s)).error().is(std::errc::not_enough_memory));
}
