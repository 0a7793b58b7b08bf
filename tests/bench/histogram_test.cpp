#include <catch2/catch_test_macros.hpp>
#include <cstdint>

import load;

using load::Histogram;

TEST_CASE("an empty histogram answers 0 to every question") {
    const Histogram empty;
    CHECK(empty.count() == 0);
    CHECK(empty.max() == 0);
    CHECK(empty.quantile(0.99) == 0);
}

TEST_CASE("a quantile is never below the true value and at most 0.8 % above it") {
    for (std::uint64_t value = 1; value < Histogram::highest / 3; value = value * 3 + 1) {
        Histogram histogram;
        histogram.record(value);
        histogram.record(Histogram::highest);  // so that the maximum does not cut the answer
        const std::uint64_t answer = histogram.quantile(0.5);
        CHECK(answer >= value);
        CHECK(answer - value <= value / 128);
    }
}

TEST_CASE("quantiles count from the smallest value") {
    Histogram histogram;
    for (std::uint64_t value = 1; value <= 100; ++value) histogram.record(value);
    CHECK(histogram.quantile(0) == 1);
    CHECK(histogram.quantile(0.5) == 50);
    CHECK(histogram.quantile(0.99) == 99);
    CHECK(histogram.quantile(1) == 100);
}

TEST_CASE("the largest value is kept exactly and values beyond the range count as the highest") {
    Histogram histogram;
    histogram.record(1'000'003);
    CHECK(histogram.max() == 1'000'003);
    CHECK(histogram.quantile(1) == 1'000'003);
    histogram.record(~std::uint64_t{0});
    CHECK(histogram.max() == Histogram::highest);
    CHECK(histogram.quantile(1) == Histogram::highest);
}

TEST_CASE("merging two histograms gives the histogram of both") {
    Histogram low;
    Histogram high;
    for (int i = 0; i < 90; ++i) low.record(10);
    for (int i = 0; i < 10; ++i) high.record(100);
    low.merge(high);
    CHECK(low.count() == 100);
    CHECK(low.quantile(0.9) == 10);
    CHECK(low.quantile(0.91) == 100);
    CHECK(low.max() == 100);
}
