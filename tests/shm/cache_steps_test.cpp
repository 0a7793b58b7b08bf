#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

std::vector<std::string> keys_in(Pool& pool) {
    std::vector<std::string> keys;
    Cache::open(pool, 0)
        ->visit([&](ByteView key, ByteView) { keys.push_back(value_of<std::string>(key).value()); })
        .value();
    return keys;
}

// From the entry used last to the one to be forgotten next; each is looked up as well.
std::string contents(Pool& pool) {
    const auto cache = Cache::open(pool, 0);
    if (!cache) return "none";
    std::string text;
    cache
        ->visit([&](ByteView key, ByteView value) {
            text += value_of<std::string>(key).value() + '=' +
                    value_of<std::string>(value).value() + ' ';
        })
        .value();
    std::uint64_t cost = 0;
    const std::vector<std::string> keys = keys_in(pool);
    for (const std::string& key : keys) {
        const auto value = cache->get(key).value();
        if (!value) return key + " is not to be found";
        cost += Cache::cost(key.size(), value->size());
    }
    if (cost != cache->used()->count || keys.size() != cache->size().value()) return "miscounted";
    return text;
}

}  // namespace

TEST_CASE("a cache that is used by a process killed at any store has been used or not") {
    std::mt19937 random{12};
    steps::Stage stage{8};
    steps::kill_everywhere(
        stage,
        [](Pool& pool) { REQUIRE(Cache::create(pool, 0, {.buckets = 4, .budget = Bytes{600}})); },
        contents);
    std::uint32_t longest = 0;
    for (std::uint32_t n = 0; n < 150 * steps::effort(); ++n) {
        const std::string key(1, static_cast<char>('a' + random() % 10));
        const std::string value(random() % (n % 5 == 0 ? 400 : 90), 'v');
        const std::uint32_t what = random() % 4;
        steps::Kills kills{.by_waiter = n % 3 == 0, .nested = n % 10 == 0 ? 9U : 0};
        // What is put may have to wait until others, the oldest first, have been forgotten.
        const std::vector<std::string> keys = keys_in(stage.pool());
        for (std::size_t forgotten = 1; what > 1 && forgotten <= keys.size(); ++forgotten)
            kills.between.push_back([&keys, forgotten](Pool& pool) {
                for (std::size_t each = 1; each <= forgotten; ++each)
                    REQUIRE(Cache::open(pool, 0)->erase(keys[keys.size() - each]).value());
            });
        steps::kill_everywhere(
            stage,
            [&](Pool& pool) {
                const Cache cache = Cache::open(pool, 0).value();
                if (what == 0)
                    static_cast<void>(cache.erase(key).value());
                else if (what == 1)
                    static_cast<void>(cache.get(key).value());
                else
                    cache.put(key, value).value();
            },
            contents, kills);
        longest = std::max(longest, static_cast<std::uint32_t>(keys.size()));
    }
    REQUIRE(longest > 3);
    REQUIRE(Cache::open(stage.pool(), 0)->forgotten().value() > 5);
}
