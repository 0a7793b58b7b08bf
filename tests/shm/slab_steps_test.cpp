#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

constexpr std::uint32_t pages = 24;

// All blocks that anybody could have: a pool this small can be asked for each place.
std::string blocks_in(Pool& pool) {
    std::string text;
    Transaction transaction = pool.begin().value();
    const std::uint64_t end = 4'096 * (pages + 4);
    for (Offset place = 0; place < end; place += 16)
        if (const std::uint64_t size = transaction.size_of(place); size != 0)
            text += std::to_string(place) + ':' + std::to_string(size) + ' ';
    transaction.commit().value();
    return text;
}

Offset allocate(Pool& pool, std::uint64_t size) {
    Transaction transaction = pool.begin().value();
    const Offset block = transaction.allocate(size);
    transaction.commit().value();
    return block;
}

void free(Pool& pool, Offset block) {
    Transaction transaction = pool.begin().value();
    transaction.free(block).value();
    transaction.commit().value();
}

std::uint64_t some_size(std::mt19937& random) {
    switch (random() % 4) {
        case 0:
            return 1 + random() % 64;
        case 1:
            return 1 + random() % 2'048;
        case 2:
            return 900 + random() % 1'200;
        default:
            return 2'049 + random() % 12'000;
    }
}

void allocate_and_free(std::uint32_t seed, std::uint32_t operations, steps::Kills kills) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    steps::Stage stage{pages};
    std::vector<Offset> blocks;
    for (std::uint32_t n = 0; n < operations; ++n) {
        INFO("operation " << n);
        if (blocks.empty() || random() % 8 < 5) {
            const std::uint64_t size = some_size(random);
            Offset block = 0;
            steps::kill_everywhere(
                stage, [&](Pool& pool) { block = allocate(pool, size); }, blocks_in, kills);
            if (block != 0) blocks.push_back(block);
        } else {
            const std::size_t which = random() % blocks.size();
            steps::kill_everywhere(
                stage, [&](Pool& pool) { free(pool, blocks[which]); }, blocks_in, kills);
            blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(which));
        }
    }
}

}  // namespace

TEST_CASE("an allocation or a free that is killed at any store has happened or has not") {
    for (std::uint32_t seed = 0; seed < steps::effort(); ++seed) allocate_and_free(seed, 120, {});
}

TEST_CASE("a waiter recovers from an allocator killed at any store as the master does") {
    for (std::uint32_t seed = 0; seed < steps::effort(); ++seed)
        allocate_and_free(1'000 + seed, 60, {.by_waiter = true});
}

TEST_CASE("a recovery of the allocator that is killed at any store is recovered from") {
    for (std::uint32_t seed = 0; seed < steps::effort(); ++seed) {
        allocate_and_free(2'000 + seed, 40, {.nested = 7});
        allocate_and_free(3'000 + seed, 30, {.by_waiter = true, .nested = 7});
    }
}
