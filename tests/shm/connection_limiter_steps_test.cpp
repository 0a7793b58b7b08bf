#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <random>
#include <string>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

// What is held of each key, after everything the dead held has been given back, and before.
std::string counts(Pool& pool) {
    std::string text;
    const ConnectionLimiter limiter = ConnectionLimiter::open(pool, 0).value();
    for (const char* key : {"a", "b"}) text += std::to_string(limiter.count(key).value()) + ' ';
    return text;
}

// The same after the dead's have been given back, of which there are none but in the copies.
std::string healed(Pool& pool) {
    std::string text = counts(pool);
    const ConnectionLimiter limiter = ConnectionLimiter::open(pool, 0).value();
    text += "healed " + std::to_string(limiter.heal().value());
    return text;
}

}  // namespace

TEST_CASE("a connection that is counted by a process killed at any store is counted or not") {
    std::mt19937 random{6};
    steps::Stage stage{10};
    REQUIRE(ConnectionLimiter::create(stage.pool(), 0, {.buckets = 2}));
    for (std::uint32_t n = 0; n < 60 * steps::effort(); ++n) {
        const std::string key(1, static_cast<char>('a' + random() % 2));
        const bool acquiring = random() % 2 == 0;
        steps::kill_everywhere(stage,
                               [&](Pool& pool) {
                                   const ConnectionLimiter limiter =
                                       ConnectionLimiter::open(pool, 0).value();
                                   if (acquiring)
                                       static_cast<void>(limiter.acquire(key, 4).value());
                                   else
                                       static_cast<void>(limiter.release(key));
                               },
                               counts, {.nested = n % 4 == 0 ? 13U : 0});
    }
}

TEST_CASE("whatever store of a count a worker is killed at, nothing is held when it is healed") {
    steps::Stage stage{10};
    REQUIRE(ConnectionLimiter::create(stage.pool(), 0, {.buckets = 2}));
    const ConnectionLimiter own = ConnectionLimiter::open(stage.pool(), 0).value();
    for (const bool acquiring : {true, true, false, true, false, false}) {
        std::string last;
        steps::kill_everywhere(
            stage,
            [&](Pool& pool) {
                const ConnectionLimiter limiter = ConnectionLimiter::open(pool, 0).value();
                if (acquiring)
                    static_cast<void>(limiter.acquire("a", 4).value());
                else
                    limiter.release("a").value();
            },
            [&](Pool& pool) {
                // Only in the copies in which the worker has been buried.
                const bool dead = !pool.owners().alive(stage.pool().self());
                const ConnectionLimiter limiter = ConnectionLimiter::open(pool, 0).value();
                const std::string text = counts(pool);
                if (dead) {
                    static_cast<void>(limiter.heal().value());
                    REQUIRE(counts(pool) == "0 0 ");
                    pool.check().value();
                }
                return text;
            });
    }
    REQUIRE(own.count("a").value() == 0);
}

TEST_CASE("healing that is killed at any store goes on where it was") {
    steps::Stage stage{10};
    const ConnectionLimiter limiter =
        ConnectionLimiter::create(stage.pool(), 0, {.buckets = 2}).value();
    for (int n = 0; n < 3; ++n) REQUIRE(limiter.acquire("a", 9).value());
    REQUIRE(limiter.acquire("b", 9).value());
    const Owner dead = stage.pool().self();
    Pool keeper = Pool::keep(stage.zone()).value();
    static_cast<void>(keeper.bury(dead.row).value());
    const std::string all = healed(keeper);
    REQUIRE(all == "3 1 healed 4");
    REQUIRE(healed(keeper) == "0 0 healed 0");
}
