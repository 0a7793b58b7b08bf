#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <random>
#include <string>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

constexpr Rate rate{.tokens = 10, .per = 1s, .burst = 4};

// How much each bucket would give, which asking does not change.
std::string buckets(Pool& pool, Instant now) {
    std::string text;
    const RateLimiter limiter = RateLimiter::open(pool, 0).value();
    for (const char* key : {"a", "b", "c"}) {
        Transaction transaction = pool.begin().value();
        std::uint64_t tokens = 0;
        while (limiter.take(transaction, key, rate, now).value().allowed) ++tokens;
        text += std::to_string(tokens) + ' ';
    }
    return text;
}

}  // namespace

TEST_CASE("tokens that are taken by a process killed at any store are taken or not") {
    std::mt19937 random{4};
    steps::Stage stage{10};
    REQUIRE(RateLimiter::create(stage.pool(), 0, {.buckets = 2}));
    Instant now{10s};
    for (std::uint32_t n = 0; n < 60 * steps::effort(); ++n) {
        now += std::chrono::milliseconds{random() % 60};
        const std::string key(1, static_cast<char>('a' + random() % 3));
        steps::kill_everywhere(
            stage,
            [&](Pool& pool) {
                static_cast<void>(RateLimiter::open(pool, 0)->take(key, rate, now).value());
            },
            [&](Pool& pool) { return buckets(pool, now); });
    }
}
