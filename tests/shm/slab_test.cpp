#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

constexpr std::uint64_t page = 4'096;

using testing::Place;
using testing::place;

Offset allocate(const Pool& pool, std::uint64_t size) {
    Transaction transaction = pool.begin().value();
    const Offset block = transaction.allocate(size);
    transaction.commit().value();
    return block;
}

Result<void> free(const Pool& pool, Offset block) {
    return transact(pool, [&](Transaction& transaction) { return transaction.free(block); });
}

std::uint64_t size_of(const Pool& pool, Offset block) {
    Transaction transaction = pool.begin().value();
    return transaction.size_of(block);
}

std::uint64_t used_pages(const Pool& pool) {
    const PoolStatistics statistics = pool.statistics().value();
    return statistics.pages - statistics.free_pages;
}

}  // namespace

TEST_CASE("blocks are as large as asked for, aligned, and do not overlap") {
    const Place here = place(64 * page);
    std::mt19937 random{1};
    std::map<Offset, std::uint64_t> blocks;
    for (int n = 0; n < 3'000; ++n) {
        if (blocks.size() < 60 || random() % 2 == 0) {
            const std::uint64_t size = 1 + random() % (random() % 6 == 0 ? 10'000 : 900);
            const Offset block = allocate(here.pool, size);
            if (block == 0) continue;
            REQUIRE(block % 16 == 0);
            REQUIRE(size_of(here.pool, block) >= size);
            REQUIRE(blocks.emplace(block, size_of(here.pool, block)).second);
            const auto at = blocks.find(block);
            if (at != blocks.begin())
                REQUIRE(std::prev(at)->first + std::prev(at)->second <= block);
            if (std::next(at) != blocks.end()) REQUIRE(block + at->second <= std::next(at)->first);
        } else {
            const auto at = std::next(blocks.begin(), static_cast<int>(random() % blocks.size()));
            free(here.pool, at->first).value();
            REQUIRE(size_of(here.pool, at->first) == 0);
            blocks.erase(at);
        }
    }
    here.pool.check().value();
    for (const auto& [block, size] : blocks) free(here.pool, block).value();
    here.pool.check().value();
    const PoolStatistics statistics = here.pool.statistics().value();
    for (const BlockStatistics& size : statistics.sizes) REQUIRE(size.used == 0);
}

TEST_CASE("of every size as many blocks are to be had as fit, and the next one is refused") {
    for (std::uint64_t size = 16; size <= 3 * page; size += size < 512 ? 16 : 272) {
        const Place here = place(12 * page);
        std::uint64_t got = 0;
        while (allocate(here.pool, size) != 0) ++got;
        const std::uint64_t expected =
            size > page / 2 ? 12 / ((size + page - 1) / page) : 12 * (page / size) * 3 / 4;
        INFO(size);
        REQUIRE(got >= expected);
        std::uint64_t failures = 0;
        const PoolStatistics statistics = here.pool.statistics().value();
        for (const BlockStatistics& each : statistics.sizes) failures += each.failures;
        REQUIRE(failures == 1);
        here.pool.check().value();
    }
}

TEST_CASE("no block is to be had of no bytes or of more than there are") {
    const Place here = place(12 * page);
    REQUIRE(allocate(here.pool, 0) == 0);
    REQUIRE(allocate(here.pool, 12 * page + 1) == 0);
    REQUIRE(allocate(here.pool, ~0ULL) == 0);
    REQUIRE(allocate(here.pool, 12 * page) != 0);
}

TEST_CASE("freed runs of pages merge with both neighbours") {
    const Place here = place(30 * page);
    std::vector<Offset> blocks;
    for (int n = 0; n < 10; ++n) blocks.push_back(allocate(here.pool, 3 * page));
    REQUIRE(std::ranges::count(blocks, Offset{0}) == 0);
    for (const std::size_t n : {1U, 3U, 2U}) free(here.pool, blocks[n]).value();
    REQUIRE(here.pool.statistics()->longest_run == 9);
    REQUIRE(here.pool.statistics()->fragmentation() == 0);
    const Offset nine = allocate(here.pool, 9 * page);
    REQUIRE(nine == blocks[1]);
    free(here.pool, nine).value();
    for (const std::size_t n : {9U, 0U, 7U, 5U}) free(here.pool, blocks[n]).value();
    REQUIRE(here.pool.statistics()->fragmentation() > 0);
    for (const std::size_t n : {4U, 8U, 6U}) free(here.pool, blocks[n]).value();
    REQUIRE(here.pool.statistics()->longest_run == 30);
    here.pool.check().value();
}

TEST_CASE("pages that hold no block any more are there for other sizes") {
    const Place here = place(8 * page);
    std::vector<Offset> blocks;
    for (Offset block = allocate(here.pool, 64); block != 0; block = allocate(here.pool, 64))
        blocks.push_back(block);
    REQUIRE(used_pages(here.pool) == 8);
    REQUIRE(allocate(here.pool, 512) == 0);
    for (const Offset block : blocks) free(here.pool, block).value();
    REQUIRE(used_pages(here.pool) == 1);          // one is kept for the next of its size,
    REQUIRE(allocate(here.pool, 8 * page) != 0);  // until it is needed
    here.pool.check().value();
}

TEST_CASE("pages that every size has kept are there for a run, in one transaction") {
    const Place here = place(24 * page);
    const std::uint64_t sizes[] = {16,  32,  48,  64,  80,  96,  112, 128,   160,   192,  224,
                                   256, 320, 384, 448, 512, 640, 768, 1'024, 1'360, 2'048};
    for (const bool possible : {true, false}) {
        std::vector<Offset> blocks;
        for (const std::uint64_t size : sizes) blocks.push_back(allocate(here.pool, size));
        for (const Offset block : blocks) free(here.pool, block).value();
        const Offset all = allocate(here.pool, possible ? 24 * page : 25 * page - 1);
        REQUIRE((all != 0) == possible);
        if (all != 0) free(here.pool, all).value();
        here.pool.check().value();
    }
    const PoolStatistics statistics = here.pool.statistics().value();
    REQUIRE(statistics.pages - statistics.free_pages <= 4);
}

TEST_CASE("an empty page is found wherever it stands in its size's list") {
    const Place here = place(3 * page);
    std::vector<Offset> blocks;
    for (int n = 0; n < 4; ++n) blocks.push_back(allocate(here.pool, page / 2));
    // The first page empty, and then the second one, which was full, in front of it.
    free(here.pool, blocks[0]).value();
    free(here.pool, blocks[1]).value();
    free(here.pool, blocks[2]).value();
    REQUIRE(allocate(here.pool, page) != 0);
    REQUIRE(allocate(here.pool, page) != 0);
    here.pool.check().value();
}

TEST_CASE(
    "a block freed twice, a foreign one and the middle of one are errors that change nothing") {
    const Place here = place(20 * page);
    const Offset small = allocate(here.pool, 48);
    const Offset other = allocate(here.pool, 48);
    const Offset large = allocate(here.pool, 3 * page);
    REQUIRE(other != 0);
    for (const Offset middle : {small + 16, small + 1, large + 16, large + page, large + 2 * page,
                                small / page * page + 4'095})
        REQUIRE(free(here.pool, middle).error().is(std::errc::invalid_argument));
    for (const Offset foreign :
         {Offset{0}, Offset{8}, Offset{4'096}, large + 100 * page, ~Offset{0}, Offset{0} - 16})
        REQUIRE(free(here.pool, foreign).error().is(std::errc::bad_address));
    free(here.pool, small).value();
    REQUIRE(free(here.pool, small).error().is(std::errc::no_such_device_or_address));
    free(here.pool, large).value();
    REQUIRE(free(here.pool, large).error().is(std::errc::no_such_device_or_address));
    here.pool.check().value();
    REQUIRE_FALSE(here.pool.quarantined());
    REQUIRE(size_of(here.pool, other) == 48);
}

TEST_CASE("statistics tell requests, failures, used and free blocks of each size") {
    const Place here = place(2 * page);
    const auto of_size = [&](std::uint64_t size) {
        const PoolStatistics statistics = here.pool.statistics().value();
        for (const BlockStatistics& each : statistics.sizes)
            if (each.block_bytes == size) return each;
        return BlockStatistics{};
    };
    const Offset first = allocate(here.pool, 1'900);
    for (int n = 0; n < 4; ++n) static_cast<void>(allocate(here.pool, 2'000));
    free(here.pool, first).value();
    REQUIRE(of_size(2'048).requests == 5);
    REQUIRE(of_size(2'048).failures == 1);
    REQUIRE(of_size(2'048).used == 3);
    REQUIRE(of_size(2'048).free == 1);
    REQUIRE(of_size(2'048).pages == 2);
    REQUIRE(allocate(here.pool, 2'500) == 0);
    REQUIRE(of_size(0).requests == 1);
    REQUIRE(of_size(0).failures == 1);
}
