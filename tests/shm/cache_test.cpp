#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <list>
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

using testing::Place;
using testing::place;

// What a cache should do, in plain lists: the front was used last.
class Model {
public:
    explicit Model(std::uint64_t budget) : budget_{budget} {}

    void put(const std::string& key, const std::string& value) {
        if (Cache::cost(key.size(), value.size()) > budget_) return;
        const auto found = find(key);
        // What is forgotten for a new value may be the old one of the same key.
        std::uint64_t own = found == entries_.end() ? 0 : cost(*found);
        while (used() - own + Cache::cost(key.size(), value.size()) > budget_) {
            if (entries_.back().first == key) own = 0;
            entries_.pop_back();
            ++forgotten_;
        }
        erase(key);
        entries_.emplace_front(key, value);
    }
    std::optional<std::string> get(const std::string& key) {
        const auto found = find(key);
        if (found == entries_.end()) return std::nullopt;
        entries_.splice(entries_.begin(), entries_, found);
        return entries_.front().second;
    }
    bool erase(const std::string& key) {
        return entries_.remove_if([&](const auto& entry) { return entry.first == key; }) != 0;
    }
    std::uint64_t used() const {
        std::uint64_t all = 0;
        for (const auto& entry : entries_) all += cost(entry);
        return all;
    }
    std::uint64_t size() const { return entries_.size(); }
    std::uint64_t forgotten() const { return forgotten_; }

private:
    using Entry = std::pair<std::string, std::string>;

    static std::uint64_t cost(const Entry& entry) {
        return Cache::cost(entry.first.size(), entry.second.size());
    }
    std::list<Entry>::iterator find(const std::string& key) {
        return std::ranges::find_if(entries_,
                                    [&](const auto& entry) { return entry.first == key; });
    }

    std::uint64_t budget_;
    std::list<Entry> entries_;
    std::uint64_t forgotten_ = 0;
};

}  // namespace

TEST_CASE("a cache forgets what has not been used for longest, to stay within its budget") {
    const Place here = place(1 << 18);
    const Cache cache =
        Cache::create(here.pool, 0, {.buckets = 16, .budget = Bytes{3'000}}).value();
    Model model{3'000};
    std::mt19937 random{1};
    for (int n = 0; n < 20'000; ++n) {
        const std::string key(1 + random() % 3, static_cast<char>('a' + random() % 26));
        switch (random() % 5) {
            case 0:
                REQUIRE(cache.erase(key).value() == model.erase(key));
                break;
            case 1:
            case 2: {
                const std::string value(random() % (random() % 9 == 0 ? 3'100 : 100), 'v');
                const Result<void> done = cache.put(key, value);
                if (!done) REQUIRE(done.error().is(std::errc::message_size));
                REQUIRE(done.has_value() == (Cache::cost(key.size(), value.size()) <= 3'000));
                model.put(key, value);
                break;
            }
            default:
                REQUIRE(cache.get(key).value() == model.get(key));
        }
        REQUIRE(cache.used().value().count == model.used());
        REQUIRE(cache.size().value() == model.size());
        REQUIRE(cache.forgotten().value() == model.forgotten());
    }
    REQUIRE(model.forgotten() > 1'000);
    here.pool.check().value();
}

TEST_CASE("a cache larger than its pool forgets to make room") {
    const Place here = place(30'000);
    const Cache cache =
        Cache::create(here.pool, 0, {.buckets = 16, .budget = Bytes{1 << 20}}).value();
    for (int n = 0; n < 500; ++n)
        cache.put("key " + std::to_string(n), std::string(300, 'v')).value();
    REQUIRE(cache.get("key 499").value() == std::string(300, 'v'));
    REQUIRE(cache.size().value() > 30);
    REQUIRE(cache.put("large", std::string(40'000, 'v')).error().is(std::errc::not_enough_memory));
    REQUIRE(cache.size().value() == 0);
    cache.put("small", "v").value();
    here.pool.check().value();
}

TEST_CASE("a cached entry expires, and a cache is found again") {
    Place here = place(1 << 16);
    const Cache cache = Cache::create(here.pool, 3).value();
    cache.put("brief", "1", Instant{100ms}).value();
    cache.put("long", "2").value();
    const Pool other = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    const Cache there = Cache::open(other, 3).value();
    REQUIRE(there.get("brief", Instant{99ms}).value() == "1");
    REQUIRE_FALSE(there.get("brief", Instant{100ms}).value());
    REQUIRE(there.get("long", Instant{100h}).value() == "2");
    REQUIRE(Map::open(other, 3).error().is(std::errc::protocol_error));
    REQUIRE(Cache::open(other, 2).error().is(std::errc::no_such_file_or_directory));
    REQUIRE(Cache::create(other, 3).error().is(std::errc::file_exists));
}

TEST_CASE("what a cache is asked for within a transaction happens with the rest of it, or not") {
    const Place here = place(1 << 16);
    const Cache cache =
        Cache::create(here.pool, 0, {.buckets = 8, .budget = Bytes{Cache::cost(1, 8) * 2}}).value();
    {
        Transaction transaction = here.pool.begin().value();
        REQUIRE(cache.put(transaction, "a", "12345678").value());
        REQUIRE(cache.get(transaction, "a") == "12345678");
    }
    REQUIRE_FALSE(cache.get("a").value().has_value());
    cache.put("a", "12345678").value();
    cache.put("b", "12345678").value();
    Transaction transaction = here.pool.begin().value();
    // There is no room: the first call forgets what was not used for longest, the next one puts.
    REQUIRE_FALSE(cache.put(transaction, "c", "12345678").value());
    transaction.commit().value();
    Transaction next = here.pool.begin().value();
    REQUIRE(cache.put(next, "c", "12345678").value());
    REQUIRE(cache.erase(next, "b"));
    next.commit().value();
    REQUIRE_FALSE(cache.get("a").value().has_value());
    REQUIRE_FALSE(cache.get("b").value().has_value());
    REQUIRE(cache.get("c").value() == "12345678");
}
