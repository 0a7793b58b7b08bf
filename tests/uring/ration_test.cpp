#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>

import ringfort.uring;

using ringfort::uring::Ration;

namespace {

constexpr std::uint32_t buffers = 16;  ///< that the kernel has at the beginning of a turn

/// Those who wait, and a kernel that serves `fit` of them with one buffer, goes on with the rest of
/// that in the next turn, and has `buffers` again by then.
class Starving {
public:
    explicit Starving(std::uint64_t waiting) : waiting_{waiting} {}

    /// Has those ask who may; returns how many that were.
    std::uint64_t turn(std::uint32_t fit) {
        const std::uint64_t asked = std::min(ration_.begin_turn(buffers, used_), waiting_);
        for (std::uint64_t i = 0; i < asked; ++i) ration_.feed();
        in_first_ %= fit;
        const std::uint64_t room = std::uint64_t{buffers} * fit - in_first_;
        const std::uint64_t served = std::min(asked, room);
        for (std::uint64_t i = served; i < asked; ++i) ration_.starve();
        starved_ += asked - served;
        used_ = static_cast<std::uint32_t>((in_first_ + served) / fit);
        in_first_ = (in_first_ + served) % fit;
        waiting_ -= served;
        return asked;
    }
    [[nodiscard]] std::uint64_t waiting() const { return waiting_; }
    [[nodiscard]] std::uint64_t starved() const { return starved_; }

private:
    Ration ration_;
    std::uint64_t waiting_;
    std::uint64_t starved_ = 0;
    std::uint64_t in_first_ = 0;  ///< served with the buffer that is being filled
    std::uint32_t used_ = 0;
};

}  // namespace

TEST_CASE("as many ask as there are buffers, when each fills one") {
    Starving starving{1'000};
    for (int turn = 0; turn < 20; ++turn) CHECK(starving.turn(1) == buffers);
    CHECK(starving.starved() == 0);
}

TEST_CASE("of small messages as many are soon asked for as fit into the buffers") {
    Starving starving{100'000};
    for (int turn = 0; turn < 10; ++turn) (void)starving.turn(600);
    CHECK(starving.waiting() < 70'000);
    int more = 0;
    for (; starving.waiting() > 0; ++more) (void)starving.turn(600);
    CHECK(more <= 8);
    CHECK(starving.starved() < 10'000);
}

TEST_CASE("large messages after small ones are rationed anew") {
    Starving starving{1'000'000};
    for (int turn = 0; turn < 20; ++turn) (void)starving.turn(600);
    REQUIRE(starving.turn(600) > 4'000);
    for (int turn = 0; turn < 3; ++turn) (void)starving.turn(1);
    for (int turn = 0; turn < 20; ++turn) CHECK(starving.turn(1) == buffers);
}

TEST_CASE("a ration has a bound, and begins anew when nobody was fed") {
    Ration ration;
    for (int turn = 0; turn < 40; ++turn) {
        CHECK(ration.begin_turn(1, 0) <= 1U << 16);
        ration.feed();
    }
    CHECK(ration.begin_turn(1, 0) == 1U << 16);
    CHECK(ration.begin_turn(3, 1) == 3);
}
