#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstdint>
#include <string>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Three = std::array<std::uint64_t, 3>;

std::string text_of(Pool& pool) {
    const auto value = SeqValue<Three>::open(pool, 0);
    if (!value) return "none";
    std::string text;
    const Three words = value->load().value();
    for (const std::uint64_t word : words) text += std::to_string(word) + ' ';
    return text + "version " + std::to_string(value->version());
}

}  // namespace

TEST_CASE("a value whose writer is killed at any store is the old one or the new one") {
    steps::Stage stage{4};
    steps::kill_everywhere(
        stage, [](Pool& pool) { REQUIRE(SeqValue<Three>::create(pool, 0, {1, 2, 3})); }, text_of);
    for (std::uint64_t n = 4; n < 12; ++n)
        steps::kill_everywhere(
            stage,
            [n](Pool& pool) { SeqValue<Three>::open(pool, 0)->store({n, n + 1, n + 2}).value(); },
            text_of, {.by_waiter = n % 2 == 0});
}
