#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <random>
#include <system_error>
#include <vector>

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;

TEST_CASE("every number has a column, no larger than an eighth of it, in their order") {
    std::uint64_t smallest = 0;
    for (std::uint32_t column = 0; column < Histogram::columns; ++column) {
        const std::uint64_t largest = Histogram::largest_in(column);
        REQUIRE(Histogram::column_of(smallest) == column);
        REQUIRE(Histogram::column_of(largest) == column);
        REQUIRE(largest - smallest <= smallest / 8);
        smallest = largest + 1;
    }
    REQUIRE(smallest == 0);
}

TEST_CASE("quantiles are those of the numbers that all rows have counted") {
    Zone zone =
        Zone::create("times", "counters/1", Counters::zone_size(3, Histogram::columns + 2)).value();
    const Counters counters = Counters::format(zone, 3, Histogram::columns + 2).value();
    const Histogram histogram = Histogram::of(counters, 2).value();
    REQUIRE_FALSE(histogram.quantile(0.5));
    std::mt19937_64 random{1};
    std::vector<std::uint64_t> numbers;
    for (std::uint32_t n = 0; n < 10'000; ++n) {
        numbers.push_back(random() >> random() % 64);
        histogram.record(n % 3, numbers.back());
    }
    std::ranges::sort(numbers);
    REQUIRE(histogram.count() == numbers.size());
    for (const double part : {0.0001, 0.1, 0.5, 0.9, 0.99, 1.0}) {
        const auto rank = static_cast<std::size_t>(part * 10'000 + 0.5);
        const std::uint64_t exact = numbers[rank - 1];
        const std::uint64_t told = histogram.quantile(part).value();
        REQUIRE(told >= exact);
        REQUIRE(told - exact <= exact / 8);
    }
    REQUIRE(counters.sum(0) == 0);
    REQUIRE(counters.sum(1) == 0);
}

TEST_CASE("a table with too few columns is no histogram") {
    Zone zone =
        Zone::create("times", "counters/1", Counters::zone_size(1, Histogram::columns)).value();
    const Counters counters = Counters::format(zone, 1, Histogram::columns).value();
    REQUIRE(Histogram::of(counters));
    REQUIRE(Histogram::of(counters, 1).error().is(std::errc::invalid_argument));
    REQUIRE(Histogram::of(counters, ~0U).error().is(std::errc::invalid_argument));
}
