// See litmus.h.
#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "litmus.h"

using namespace ringfort;
using namespace ringfort::shm;

using testing::race;
using testing::Two;

TEST_CASE("coherence: what is counted is never fewer than before, and none is lost") {
    Two two;
    const auto ours = Counters::open_or_create(two.left, 0, Histogram::columns + 1).value();
    const auto theirs = Counters::open_or_create(two.right, 0, Histogram::columns + 1).value();
    const Histogram histogram = Histogram::of(ours, 1).value();
    const Histogram histogram_there = Histogram::of(theirs, 1).value();
    std::uint64_t last = 0;
    std::uint64_t last_count = 0;
    std::uint64_t looks = 0;
    const std::uint64_t changes = race(
        [&](std::uint64_t n) {
            for (int i = 0; i < 8; ++i) ours.add(0, 0);
            histogram.record(0, n % 100);
        },
        [&] {
            const std::uint64_t found = theirs.get(0, 0);
            bool right = found >= std::exchange(last, found);
            if (++looks % 16 == 0) {
                const std::uint64_t count = histogram_there.count();
                right = right && count >= std::exchange(last_count, count);
            }
            theirs.add(1, 0);  // beside it, in a row of its own
            return right;
        });
    REQUIRE(ours.get(0, 0) == 8 * changes);
    REQUIRE(ours.get(1, 0) == looks);
    REQUIRE(histogram.count() == changes);
}
