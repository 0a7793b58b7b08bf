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
    for (const char* key : {"a", "b", "c", "d", "e"})
        text += std::to_string(limiter.count(key).value()) + ' ';
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
                const std::string text = counts(pool);
                // Where the worker has been buried, that is.
                if (!pool.owners().alive(stage.pool().self())) {
                    static_cast<void>(ConnectionLimiter::open(pool, 0)->heal().value());
                    REQUIRE(counts(pool) == "0 0 0 0 0 ");
                    pool.check().value();
                }
                return text;
            });
    }
    REQUIRE(own.count("a").value() == 0);
}

TEST_CASE("healing that is killed at any store goes on where it was") {
    steps::Stage stage{10};
    REQUIRE(ConnectionLimiter::create(stage.pool(), 0, {.buckets = 2}));
    Pool dead = Pool::attach(stage.zone(), stage.keeper().admit(2, {}).value()).value();
    const ConnectionLimiter limiter = ConnectionLimiter::open(dead, 0).value();
    for (const char* key : {"a", "a", "b", "a", "c", "d", "e"})
        REQUIRE(limiter.acquire(key, 9).value());
    REQUIRE_FALSE(stage.keeper().bury(2).value());
    const std::string after = steps::kill_everywhere(
        stage, [](Pool& pool) { REQUIRE(ConnectionLimiter::open(pool, 0)->heal().value() == 7); },
        [](Pool& pool) {
            // What is left to do.
            const std::uint64_t rest = ConnectionLimiter::open(pool, 0)->heal().value();
            REQUIRE(rest <= 7);
            return counts(pool);
        });
    REQUIRE(after == "0 0 0 0 0 ");
}
