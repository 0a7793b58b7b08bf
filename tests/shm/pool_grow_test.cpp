#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
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

using Texts = MapOf<std::string, std::string>;
using Triple = std::array<std::uint64_t, 3>;

using testing::Place;
using testing::place;

Zone zone_for(std::uint64_t bytes, std::uint32_t rows = 2) {
    return Zone::create("larger", "pool/1", Pool::zone_size(rows, Bytes{bytes})).value();
}

constexpr Rate rate{.tokens = 1, .per = 1'000ms, .burst = 3};
constexpr Instant moment{1s};

// Something of everything.
void fill(const Pool& pool) {
    const Texts map = Texts::create(pool, 0, {.buckets = 8}).value();
    for (int n = 0; n < 100; ++n)
        map.put(std::to_string(n), std::string(static_cast<std::size_t>(n * 7), 'v')).value();
    const Cache cache = Cache::create(pool, 1, {.buckets = 8, .budget = Bytes{4'000}}).value();
    for (int n = 0; n < 100; ++n) cache.put(std::to_string(n), "cached").value();
    const RateLimiter rates = RateLimiter::create(pool, 2).value();
    for (int n = 0; n < 3; ++n) REQUIRE(rates.take("key", rate, moment).value().allowed);
    const Queue queue = Queue::create(pool, 4, Bytes{1'000}).value();
    for (int n = 0; n < 30; ++n) {
        const std::string message = "message " + std::to_string(n);
        queue.push(bytes_of(message)).value();
        if (n % 3 != 0) static_cast<void>(queue.pop().value());
    }
    static_cast<void>(SeqValue<Triple>::create(pool, 5, {1, 2, 3}).value());
    static_cast<void>(SharedLock::create(pool, 6).value());
}

// What is in it, without changing it.
std::string contents(const Pool& pool) {
    std::string text;
    const Map map = Texts::open(pool, 0).value().untyped();
    std::map<std::string, std::string> sorted;
    Transaction transaction = pool.begin().value();
    for (std::uint32_t bucket = 0; bucket < map.buckets(); ++bucket)
        map.visit(transaction, bucket, {}, [&](ByteView key, ByteView value) {
            sorted.emplace(value_of<std::string>(key).value(),
                           value_of<std::string>(value).value());
        });
    transaction.commit().value();
    for (const auto& [key, value] : sorted) text += key + '=' + value + '\n';
    const Cache cache = Cache::open(pool, 1).value();
    cache.visit([&](ByteView key, ByteView) { text += value_of<std::string>(key).value() + ' '; })
        .value();
    text += std::to_string(Queue::open(pool, 4).value().used().value().count);
    const auto triple = SeqValue<Triple>::open(pool, 5).value().load().value();
    for (const std::uint64_t word : triple) text += '/' + std::to_string(word);
    return text;
}

// Takes all there is, in blocks of a page; returns how many.
std::uint64_t take_pages(const Pool& pool) {
    for (std::uint64_t pages = 0;; ++pages) {
        Transaction transaction = pool.begin().value();
        const Offset block = transaction.allocate(4'096);
        transaction.commit().value();
        if (block == 0) return pages;
    }
}

}  // namespace

TEST_CASE("a pool that has grown holds what it held, and has more room") {
    const Place here = place(50 * 4'096);
    fill(here.pool);
    const std::string before = contents(here.pool);
    Zone zone = zone_for(200 * 4'096);
    const Pool grown = Pool::grow(here.pool, zone).value();
    grown.check().value();
    REQUIRE(contents(grown) == before);
    REQUIRE(contents(here.pool) == before);
    const PoolStatistics statistics = grown.statistics().value();
    REQUIRE(statistics.pages == 200);
    REQUIRE(statistics.free_pages == here.pool.statistics().value().free_pages + 150);
    REQUIRE(statistics.longest_run >= 120);

    REQUIRE_FALSE(RateLimiter::open(grown, 2).value().take("key", rate, moment).value().allowed);
    const auto message = Queue::open(grown, 4).value().pop().value();
    REQUIRE(message.has_value());
    REQUIRE(value_of<std::string>(*message) == "message 20");
    static_cast<void>(SharedLock::open(grown, 6).value().lock().value());
    Texts::open(grown, 0).value().put("new", std::string(100'000, 'v')).value();
    REQUIRE(take_pages(grown) > take_pages(here.pool) + 100);
    grown.check().value();
    REQUIRE(contents(here.pool) == before);
}

TEST_CASE("a pool that is full grows, and one without a page more is a copy") {
    const Place here = place(10 * 4'096);
    REQUIRE(take_pages(here.pool) == 10);
    Zone same = zone_for(10 * 4'096);
    const Pool copy = Pool::grow(here.pool, same).value();
    copy.check().value();
    REQUIRE(take_pages(copy) == 0);
    Zone larger = zone_for(11 * 4'096);
    const Pool grown = Pool::grow(copy, larger).value();
    grown.check().value();
    REQUIRE(take_pages(grown) == 1);
}

TEST_CASE("what owners hold goes on in a pool that has grown, and is healed when they are buried") {
    Place here = place(50 * 4'096);
    const Owner living = here.pool.admit(0, {1, 1}).value();
    const Owner dying = here.pool.admit(1, {2, 1}).value();
    const ConnectionLimiter mine =
        ConnectionLimiter::create(Pool::attach(here.zone, living).value(), 3).value();
    const ConnectionLimiter theirs =
        ConnectionLimiter::open(Pool::attach(here.zone, dying).value(), 3).value();
    REQUIRE(mine.acquire("key", 5).value());
    REQUIRE(theirs.acquire("key", 5).value());

    Zone zone = zone_for(100 * 4'096);
    const Pool grown = Pool::grow(here.pool, zone).value();
    const ConnectionLimiter limiter = ConnectionLimiter::open(grown, 3).value();
    REQUIRE(limiter.count("key").value() == 2);
    static_cast<void>(grown.bury(1).value());
    REQUIRE(limiter.heal().value() == 1);
    const ConnectionLimiter after =
        ConnectionLimiter::open(Pool::attach(zone, living).value(), 3).value();
    after.release("key").value();
    REQUIRE(limiter.count("key").value() == 0);
    REQUIRE(mine.count("key").value() == 2);
    // Epochs go on as well: no owner of the row before is taken for the next one.
    REQUIRE(grown.admit(1, {}).value().epoch == dying.epoch + 1);
}

TEST_CASE("a pool grows neither into a smaller zone nor into a pool, nor if it is corrupted") {
    const Place here = place(10 * 4'096);
    Zone smaller = zone_for(9 * 4'096);
    REQUIRE(Pool::grow(here.pool, smaller).error().is(std::errc::no_space_on_device));
    Zone there = zone_for(20 * 4'096);
    static_cast<void>(Pool::format(there, 2).value());
    REQUIRE(Pool::grow(here.pool, there).error().is(std::errc::file_exists));

    Transaction transaction = here.pool.begin().value();
    transaction.fail();
    REQUIRE_FALSE(transaction.commit());
    Zone zone = zone_for(20 * 4'096);
    REQUIRE(Pool::grow(here.pool, zone).error().is(std::errc::bad_message));
    REQUIRE(Pool::attach(zone, here.pool.self()).error().is(std::errc::bad_message));
}

TEST_CASE("a pool whose books disagree is not grown, and known to be corrupted from then on") {
    // Somewhere at the end is the length of the last free run.
    const auto damaged = [](std::size_t lines_from_end) {
        Place here = place(1 << 16);
        reinterpret_cast<Word&>(here.zone.payload().last(64 * lines_from_end).front()) ^= Word{1}
                                                                                          << 33;
        return here;
    };
    std::size_t lines = 1;
    while (damaged(lines).pool.check()) REQUIRE(++lines < 100);
    const Place here = damaged(lines);
    Zone larger = zone_for(1 << 18);
    REQUIRE(Pool::grow(here.pool, larger).error().is(std::errc::bad_message));
    REQUIRE(here.pool.quarantined());
    REQUIRE(Pool::unusable(larger));
}

TEST_CASE("who is in the middle of a transaction does not grow the pool, and the new one is none") {
    const Place here = place(10 * 4'096);
    Zone zone = zone_for(20 * 4'096);
    {
        const Transaction transaction = here.pool.begin().value();
        REQUIRE(Pool::grow(here.pool, zone).error().is(std::errc::resource_deadlock_would_occur));
        REQUIRE(Pool::attach(zone, here.pool.self()).error().is(std::errc::bad_message));
    }
    Pool::grow(here.pool, zone).value().check().value();
}

TEST_CASE("a pool with more in it than may be copied at once does not grow, and goes on") {
    Place here = place(50 * 4'096);
    fill(here.pool);
    const std::string before = contents(here.pool);
    const Bytes content = Pool::content(here.zone).value();
    const PoolStatistics statistics = here.pool.statistics().value();
    // The pages in use, and books that do not depend on that.
    REQUIRE(content.count > (statistics.pages - statistics.free_pages) * 4'096);
    REQUIRE(content < here.zone.size());
    Zone zone = zone_for(100 * 4'096);
    REQUIRE(Pool::grow(here.pool, zone, Bytes{content.count - 1})
                .error()
                .is(std::errc::file_too_large));
    REQUIRE(Pool::attach(zone, here.pool.self()).error().is(std::errc::bad_message));
    REQUIRE(contents(here.pool) == before);
    REQUIRE(contents(Pool::grow(here.pool, zone, content).value()) == before);

    REQUIRE(take_pages(here.pool) > 0);
    REQUIRE(Pool::content(here.zone).value() > content);
    here.pool.quarantine();
    REQUIRE(Pool::content(here.zone).error().is(std::errc::bad_message));
}

TEST_CASE("what would be copied is told while somebody else holds the lock") {
    Place here = place(10 * 4'096);
    const Bytes content = Pool::content(here.zone).value();
    const Transaction transaction = here.pool.begin().value();
    REQUIRE(Pool::content(here.zone).value() == content);
}
