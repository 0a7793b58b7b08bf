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

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Texts = MapOf<std::string, std::string>;
using Model = std::map<std::string, std::string>;

std::string text_of(const Model& model) {
    std::string text;
    for (const auto& [key, value] : model) text += key + '=' + value + '\n';
    return text;
}

std::string contents(Pool& pool) {
    const Result<Texts> opened = Texts::open(pool, 2);
    if (!opened && opened.error().is(std::errc::no_such_file_or_directory)) return "no map";
    const Map& map = opened.value().untyped();
    Model model;
    Transaction transaction = pool.begin().value();
    for (std::uint32_t bucket = 0; bucket < map.buckets(); ++bucket)
        map.visit(transaction, bucket, {}, [&](ByteView key, ByteView value) {
            model.emplace(value_of<std::string>(key).value(), value_of<std::string>(value).value());
        });
    if (model.size() != map.size(transaction)) return "miscounted";
    for (const auto& [key, value] : model)
        if (map.find(transaction, bytes_of(key), {}).value().size() != value.size())
            return "not found: " + key;
    std::uint64_t used = 0;
    transaction.commit().value();
    const PoolStatistics statistics = pool.statistics().value();
    for (const BlockStatistics& each : statistics.sizes)
        if (each.block_bytes != 0) used += each.used;
    // The header, the table, and one for each entry.
    if (used != model.size() + 2) return "a block is lost";
    return text_of(model);
}

void change(std::uint32_t seed, int operations, steps::Kills kills) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    steps::Stage stage{10};
    steps::kill_everywhere(
        stage,
        [](Pool& pool) { static_cast<void>(Texts::create(pool, 2, {.buckets = 4}).value()); },
        contents, kills);
    Model model;
    for (int n = 0; n < operations; ++n) {
        INFO("operation " << n);
        const std::string key(1 + random() % 3, static_cast<char>('a' + random() % 4));
        const std::string value(random() % (random() % 5 == 0 ? 900 : 80), 'v');
        const auto erasing = random() % 3 == 0;
        bool done = false;
        const std::string after = steps::kill_everywhere(
            stage,
            [&](Pool& pool) {
                const Texts map = Texts::open(pool, 2).value();
                if (erasing)
                    static_cast<void>(map.erase(key).value());
                else
                    done = map.put(key, value).has_value();
            },
            contents, kills);
        if (erasing)
            model.erase(key);
        else if (done)  // the pool may be full
            model[key] = value;
        REQUIRE(after == text_of(model));
    }
}

}  // namespace

TEST_CASE("a map that is killed at any store of a change has changed or has not") {
    for (std::uint32_t seed = 0; seed < steps::effort(); ++seed) {
        change(seed, 150, {});
        change(1'000 + seed, 50, {.by_waiter = true});
        change(2'000 + seed, 50, {.nested = 11});
    }
}

TEST_CASE("an expiry that is killed at any store has removed whole entries") {
    for (std::uint32_t seed = 0; seed < steps::effort(); ++seed) {
        std::mt19937 random{seed};
        steps::Stage stage{10};
        const Texts map = Texts::create(stage.pool(), 2, {.buckets = 4}).value();
        Model model;
        for (int n = 0; n < 30; ++n) {
            const bool brief = random() % 2 == 0;
            const std::string key = std::to_string(n);
            map.put(key, "v", brief ? Instant{std::chrono::milliseconds{1}} : never).value();
            if (!brief) model.emplace(key, "v");
        }
        const Instant later{std::chrono::milliseconds{1}};
        for (int n = 0; n < 10; ++n)
            steps::kill_everywhere(
                stage,
                [&](Pool& pool) {
                    const Map there = Texts::open(pool, 2).value().untyped();
                    transact(pool, [&](Transaction& transaction) -> Result<void> {
                        there.expire(transaction, later);
                        return {};
                    }).value();
                },
                contents);
        REQUIRE(contents(stage.pool()) == text_of(model));
    }
}
