#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <map>
#include <optional>
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

using Texts = MapOf<std::string, std::string>;

using testing::Place;
using testing::place;

Instant at(std::chrono::milliseconds time) {
    return Instant{time};
}

std::uint64_t used_blocks(const Pool& pool) {
    std::uint64_t used = 0;
    const PoolStatistics statistics = pool.statistics().value();
    for (const BlockStatistics& each : statistics.sizes) used += each.used;
    return used;
}

}  // namespace

TEST_CASE("a map holds what a std::map holds, through thousands of changes") {
    const Place here = place(1 << 20);
    const Texts map = Texts::create(here.pool, 0, {.buckets = 50}).value();
    const std::uint64_t used = used_blocks(here.pool);
    std::map<std::string, std::string> model;
    std::mt19937 random{3};
    for (int n = 0; n < 20'000; ++n) {
        const std::string key(random() % 20, static_cast<char>('a' + random() % 20));
        switch (random() % 4) {
            case 0:
            case 1: {
                const std::string value(random() % 100, static_cast<char>(random()));
                map.put(key, value).value();
                model[key] = value;
                break;
            }
            case 2:
                REQUIRE(map.erase(key).value() == (model.erase(key) != 0));
                break;
            default: {
                const auto found = map.get(key).value();
                const auto expected = model.find(key);
                REQUIRE(found.has_value() == (expected != model.end()));
                if (found) REQUIRE(*found == expected->second);
            }
        }
    }
    REQUIRE(map.size().value() == model.size());
    for (const auto& [key, value] : model) REQUIRE(map.erase(key).value());
    REQUIRE(map.size().value() == 0);
    here.pool.check().value();
    REQUIRE(used_blocks(here.pool) == used);
}

TEST_CASE("a map is found again by another owner, under its number only") {
    Place here = place(1 << 18);
    using Numbers = MapOf<std::uint64_t, double>;
    const Numbers map = Numbers::create(here.pool, 5).value();
    map.put(17, 2.5).value();
    const Pool other = Pool::attach(here.zone, here.pool.admit(1, {}).value()).value();
    REQUIRE(Numbers::open(other, 5)->get(17).value() == 2.5);
    REQUIRE_FALSE(Numbers::open(other, 5)->get(18).value());
    REQUIRE(Numbers::open(other, 4).error().is(std::errc::no_such_file_or_directory));
    REQUIRE(Numbers::create(other, 5).error().is(std::errc::file_exists));
    REQUIRE(Numbers::create(other, limits::pool_roots).error().is(std::errc::invalid_argument));
    transact(other, [&](Transaction& transaction) -> Result<void> {
        other.set_root(transaction, 6, 1, transaction.allocate(64));
        return {};
    }).value();
    REQUIRE(Numbers::open(other, 6).error().is(std::errc::protocol_error));
}

TEST_CASE("an entry is gone from the moment on at which it expires") {
    const Place here = place(1 << 18);
    const Texts map = Texts::create(here.pool, 0).value();
    map.put("brief", "1", at(100ms)).value();
    map.put("long", "2", at(200ms)).value();
    map.put("for ever", "3").value();
    REQUIRE(map.get("brief", at(99ms)).value() == "1");
    REQUIRE_FALSE(map.get("brief", at(100ms)).value());
    REQUIRE(map.size().value() == 3);
    map.put("brief", "4", at(150ms)).value();
    REQUIRE(map.get("brief", at(120ms)).value() == "4");
    map.put("brief", "55", at(160ms)).value();
    REQUIRE(map.get("brief", at(150ms)).value() == "55");
    REQUIRE(map.expire(at(160ms)).value() == 1);
    REQUIRE(map.size().value() == 2);
    REQUIRE(map.expire(at(10h)).value() == 1);
    REQUIRE(map.get("for ever", at(10h)).value() == "3");
    transact(here.pool, [&](Transaction& transaction) -> Result<void> {
        const auto expiry = [&](std::string_view key) {
            return map.untyped().expiry(transaction, bytes_of(key), at(1ms));
        };
        REQUIRE(expiry("for ever") == never);
        REQUIRE_FALSE(expiry("long"));
        return {};
    }).value();
}

TEST_CASE("many expired entries are removed in transactions that are bounded") {
    const Place here = place(1 << 20);
    using Numbers = MapOf<std::uint32_t, std::uint32_t>;
    for (const std::uint32_t buckets : {1U, 64U, 4'096U}) {
        Zone zone = Zone::create("map", "pool/1", Pool::zone_size(2, Bytes{1 << 20})).value();
        const Pool pool = Pool::format(zone, 2).value();
        const Numbers map = Numbers::create(pool, 0, {.buckets = buckets}).value();
        for (std::uint32_t n = 0; n < 1'000; ++n)
            map.put(n, n, n % 3 == 0 ? never : at(1ms)).value();
        REQUIRE(map.expire(at(1ms)).value() == 666);
        REQUIRE(map.size().value() == 334);
        for (std::uint32_t n = 0; n < 1'000; ++n)
            REQUIRE(map.get(n, at(0ms)).value().has_value() == (n % 3 == 0));
    }
}

TEST_CASE("a pool that is full refuses an entry and keeps the others") {
    const Place here = place(40'000);
    const Texts map = Texts::create(here.pool, 0, {.buckets = 16}).value();
    std::uint64_t count = 0;
    Result<void> last;
    for (; (last = map.put("key " + std::to_string(count), std::string(300, 'v'))); ++count) {
    }
    REQUIRE(last.error().is(std::errc::not_enough_memory));
    REQUIRE(count > 60);
    REQUIRE(map.size().value() == count);
    // Nor can a value grow: what it was, it stays.
    REQUIRE(map.put("key 5", std::string(3'000, 'w')).error().is(std::errc::not_enough_memory));
    REQUIRE(map.get("key 5").value() == std::string(300, 'v'));
    here.pool.check().value();
    REQUIRE(map.erase("key 7").value());
    map.put("other", std::string(300, 'w')).value();
}

TEST_CASE("entries and maps out of range are refused") {
    const Place here = place(4 << 20);
    REQUIRE(Map::create(here.pool, 0, {.buckets = 0}).error().is(std::errc::invalid_argument));
    REQUIRE(Map::create(here.pool, 0, {.buckets = ~0U}).error().is(std::errc::invalid_argument));
    REQUIRE(
        Map::create(here.pool, 0, {.buckets = 1U << 28}).error().is(std::errc::not_enough_memory));
    const Texts map = Texts::create(here.pool, 0).value();
    const std::string large(limits::max_map_entry, 'x');
    map.put("", large).value();
    REQUIRE(map.get("").value() == large);
    REQUIRE(map.put("y", large).error().is(std::errc::not_enough_memory));
    map.put(large, "").value();
    REQUIRE(map.get(large).value() == "");
}

TEST_CASE("operations on two maps are one transaction") {
    const Place here = place(1 << 18);
    const Texts one = Texts::create(here.pool, 0).value();
    const Texts two = Texts::create(here.pool, 1).value();
    one.put("key", "value").value();
    const auto move_over = [&](bool fail) {
        return transact(here.pool, [&](Transaction& transaction) -> Result<void> {
            const ByteView key = bytes_of(std::string_view{"key"});
            const auto value = one.untyped().find(transaction, key, {});
            if (auto done = two.untyped().put(transaction, key, *value); !done) return done;
            one.untyped().erase(transaction, key);
            if (fail) return Error{"move", std::errc::permission_denied};
            return {};
        });
    };
    REQUIRE_FALSE(move_over(true));
    REQUIRE(one.get("key").value() == "value");
    REQUIRE_FALSE(two.get("key").value());
    REQUIRE(move_over(false));
    REQUIRE_FALSE(one.get("key").value());
    REQUIRE(two.get("key").value() == "value");
}
