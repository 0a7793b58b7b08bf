#include <catch2/catch_test_macros.hpp>
#include <cstdint>

import ringfort.uring;

using ringfort::uring::Ration;

namespace {

/// Has `count` of them ask.
void feed(Ration& ration, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) ration.feed();
}

}  // namespace

TEST_CASE("as many ask as there are buffers, when each has filled one") {
    Ration ration;
    for (int turn = 0; turn < 10; ++turn) {
        CHECK(ration.most(16, turn == 0 ? 0 : 16) == 16);
        feed(ration, 16);
    }
}

TEST_CASE("twice as many ask in each turn in which no buffer was filled, up to a bound") {
    Ration ration;
    std::uint64_t expected = 2;
    for (int turn = 0; turn < 40; ++turn) {
        const std::uint64_t most = ration.most(2, 0);
        CHECK(most == expected);
        feed(ration, 1);
        if (expected < 2ULL << 16) expected *= 2;
    }
}

TEST_CASE("as many ask for each buffer as have shared one") {
    Ration ration;
    CHECK(ration.most(4, 0) == 4);
    feed(ration, 600);
    CHECK(ration.most(4, 3) == 800);
    feed(ration, 800);
    CHECK(ration.most(4, 1'000) == 4);  // large ones, or others'
}

TEST_CASE("a ration begins anew when nobody was fed") {
    Ration ration;
    (void)ration.most(1, 0);
    feed(ration, 100);
    CHECK(ration.most(1, 1) == 100);
    CHECK(ration.most(1, 1) == 1);
    CHECK(ration.most(1, 0) == 1);
}
