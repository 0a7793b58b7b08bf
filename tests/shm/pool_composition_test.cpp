// Several structures in one transaction, in whatever order.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
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
using namespace std::chrono_literals;

namespace {

using testing::Place;
using testing::place;

ByteView text(const std::string& value) {
    return bytes_of(value);
}

std::string found(const Pool& pool, const Map& map, const std::string& key) {
    Transaction transaction = pool.begin().value();
    const std::optional<ByteView> value = map.find(transaction, text(key), {});
    return value ? value_of<std::string>(*value).value() : "none";
}

}  // namespace

TEST_CASE("values of other lengths replace others in one transaction") {
    const Place here = place();
    const Map map = Map::create(here.pool, 0).value();
    const auto put_both = [&](Transaction& transaction, const std::string& one,
                              const std::string& two) {
        map.put(transaction, text("one"), text(one)).value();
        map.put(transaction, text("two"), text(two)).value();
    };
    {
        Transaction transaction = here.pool.begin().value();
        put_both(transaction, "a", "b");
        transaction.commit().value();
    }
    {
        Transaction transaction = here.pool.begin().value();
        put_both(transaction, "aaaa", "bbbb");
    }
    REQUIRE(found(here.pool, map, "one") + found(here.pool, map, "two") == "ab");
    {
        Transaction transaction = here.pool.begin().value();
        put_both(transaction, "aaaa", "bbbb");
        put_both(transaction, "aaaaaa", "bbbbbb");
        REQUIRE(map.erase(transaction, text("one")));
        map.put(transaction, text("one"), text("again")).value();
        transaction.commit().value();
    }
    REQUIRE(found(here.pool, map, "one") + found(here.pool, map, "two") == "againbbbbbb");
    here.pool.check().value();
}

TEST_CASE("a message is taken and what it says put into a map, in one transaction") {
    const Place here = place();
    const Queue queue = Queue::create(here.pool, 0, Bytes{64}).value();
    const Map map = Map::create(here.pool, 1).value();
    queue.push(text("news")).value();
    for (const bool committed : {false, true}) {
        Transaction transaction = here.pool.begin().value();
        const auto message = queue.pop(transaction);
        REQUIRE(message);
        map.put(transaction, text("key"), *message).value();
        if (committed) transaction.commit().value();
    }
    REQUIRE_FALSE(queue.pop().value());
    REQUIRE(found(here.pool, map, "key") == "news");
}

TEST_CASE("what a transaction takes from a queue is no room until it is committed") {
    const Place here = place();
    const Queue one = Queue::create(here.pool, 0, Bytes{32}).value();
    const Queue two = Queue::create(here.pool, 1, Bytes{32}).value();
    one.push(text("12345678")).value();
    {
        Transaction transaction = here.pool.begin().value();
        REQUIRE(one.pop(transaction));
        one.push(transaction, text("abcdefgh")).value();
        REQUIRE(one.push(transaction, text("abcdefgh")).error().is(std::errc::no_buffer_space));
        two.push(transaction, text("abcdefgh")).value();
    }
    {
        Transaction transaction = here.pool.begin().value();
        const auto message = one.pop(transaction);
        REQUIRE(value_of<std::string>(message.value()) == "12345678");
        one.push(transaction, *message).value();
        two.push(transaction, *message).value();
        transaction.commit().value();
    }
    for (const Queue& queue : {one, two}) {
        REQUIRE(value_of<std::string>(queue.pop().value().value()) == "12345678");
        REQUIRE_FALSE(queue.pop().value());
    }
}

TEST_CASE("limiters give back and take in one transaction") {
    const Place here = place();
    const ConnectionLimiter connections = ConnectionLimiter::create(here.pool, 0).value();
    const RateLimiter rates = RateLimiter::create(here.pool, 1).value();
    const Map map = Map::create(here.pool, 2).value();
    REQUIRE(connections.acquire("old", 1).value());
    {
        Transaction transaction = here.pool.begin().value();
        map.put(transaction, text("key"), text("value")).value();
        transaction.commit().value();
    }
    Transaction transaction = here.pool.begin().value();
    connections.release(transaction, "old").value();
    REQUIRE(connections.acquire(transaction, "new", 1).value());
    REQUIRE(map.erase(transaction, text("key")));
    REQUIRE(rates.take(transaction, "new", Rate{1, 1s, 1}, now()).value().allowed);
    transaction.commit().value();
    REQUIRE(connections.count("old").value() == 0);
    REQUIRE(connections.count("new").value() == 1);
    REQUIRE(rates.size().value() == 1);
    here.pool.check().value();
}

TEST_CASE("a block that is freed twice in one transaction is an error that changes nothing") {
    const Place here = place();
    Transaction transaction = here.pool.begin().value();
    const Offset block = transaction.allocate(100);
    transaction.free(block).value();
    REQUIRE(transaction.free(block).error().is(std::errc::no_such_device_or_address));
    REQUIRE(transaction.size_of(block) == 0);
    REQUIRE(transaction.allocate(100) != block);
    transaction.commit().value();
    here.pool.check().value();
}
