// What is said of every structure alike: how it is made and opened, and which one it is.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using testing::Place;
using testing::place;

using Texts = MapOf<std::string, std::string>;
using Small = MapOf<std::string, std::uint32_t>;
using Large = MapOf<std::string, std::uint64_t>;

enum class Mood : std::uint8_t { good };
static_assert(MapKey<std::uint32_t> && MapValue<double> && MapKey<std::string>);
static_assert(!MapKey<int*> && !MapValue<const char*> && !MapValue<bool> && !MapValue<Mood>);

template <class T>
bool foreign(const Result<T>& result) {
    return !result && result.error().is(std::errc::protocol_error);
}

}  // namespace

TEST_CASE("a structure is opened if it is there, and made otherwise") {
    const Place here = place();
    for (int turn = 0; turn < 2; ++turn) {
        const Texts texts = Texts::open_or_create(here.pool, 0).value();
        const Cache cache = Cache::open_or_create(here.pool, 1).value();
        const Queue queue = Queue::open_or_create(here.pool, 2, Bytes{100}).value();
        const auto value = SeqValue<std::uint64_t>::open_or_create(here.pool, 3, 7).value();
        const SharedLock lock = SharedLock::open_or_create(here.pool, 4).value();
        const RateLimiter rates = RateLimiter::open_or_create(here.pool, 5).value();
        const auto connections = ConnectionLimiter::open_or_create(here.pool, 6).value();
        REQUIRE(lock.lock_shared());
        REQUIRE(rates.size().value() == 0);
        if (turn == 0) {
            texts.put("key", "value").value();
            cache.put("key", "value").value();
            queue.push(bytes_of(std::string{"message"})).value();
            value.store(8).value();
            REQUIRE(connections.acquire("key", 1).value());
        } else {
            REQUIRE(texts.get("key").value() == "value");
            REQUIRE(cache.get("key").value() == "value");
            REQUIRE(queue.pop().value());
            REQUIRE(value.load().value() == 8);
            REQUIRE(connections.count("key").value() == 1);
        }
    }
    REQUIRE(foreign(Queue::open_or_create(here.pool, 0, Bytes{100})));
}

TEST_CASE("a map of other entries is another map, and so is a limiter") {
    const Place here = place();
    const Small small = Small::create(here.pool, 0).value();
    small.put("key", 7).value();
    REQUIRE(foreign(Large::open(here.pool, 0)));
    REQUIRE(foreign(Large::open_or_create(here.pool, 0)));
    REQUIRE(foreign(Texts::open(here.pool, 0)));
    REQUIRE(foreign(Map::open(here.pool, 0)));
    REQUIRE(foreign(RateLimiter::open(here.pool, 0)));
    REQUIRE(foreign(ConnectionLimiter::open(here.pool, 0)));
    REQUIRE(RateLimiter::create(here.pool, 1));
    REQUIRE(foreign(ConnectionLimiter::open(here.pool, 1)));
    REQUIRE(foreign(Map::open(here.pool, 1)));
    REQUIRE(foreign(MapOf<std::uint64_t, std::uint32_t>::open(here.pool, 0)));
    REQUIRE(Small::open(here.pool, 0)->get("key").value() == 7U);
    REQUIRE_FALSE(here.pool.quarantined());
}

TEST_CASE("a value of a size that is not its type's is an error, and no corruption") {
    const Place here = place();
    const Small small = Small::create(here.pool, 0).value();
    transact(here.pool, [&](Transaction& transaction) {
        return small.untyped().put(transaction, bytes_of(std::string{"key"}),
                                   bytes_of(std::string{"more than four bytes"}));
    }).value();
    REQUIRE(foreign(small.get("key")));
    REQUIRE_FALSE(here.pool.quarantined());
    small.put("key", 5).value();
    REQUIRE(small.get("key").value() == 5U);
}

TEST_CASE("views go on when the pool that they were made with is gone") {
    const Place here = place();
    const Place elsewhere = place();
    Pool pool = here.pool;
    const Texts texts = Texts::create(pool, 0).value();
    const Cache cache = Cache::create(pool, 1).value();
    const Queue queue = Queue::create(pool, 2, Bytes{100}).value();
    const auto value = SeqValue<std::uint64_t>::create(pool, 3, 7).value();
    const SharedLock lock = SharedLock::create(pool, 4).value();
    const RateLimiter rates = RateLimiter::create(pool, 5).value();
    const ConnectionLimiter connections = ConnectionLimiter::create(pool, 6).value();
    pool = elsewhere.pool;
    texts.put("key", "value").value();
    cache.put("key", "value").value();
    queue.push(bytes_of(std::string{"message"})).value();
    value.store(8).value();
    REQUIRE(lock.lock());
    REQUIRE(rates.take("key", Rate{}, now()).value().allowed);
    REQUIRE(connections.acquire("key", 1).value());
    REQUIRE(Texts::open(here.pool, 0)->get("key").value() == "value");
    REQUIRE(Queue::open(here.pool, 2)->pop().value());
    here.pool.check().value();
    const PoolStatistics statistics = elsewhere.pool.statistics().value();
    REQUIRE(statistics.free_pages == statistics.pages);
}
