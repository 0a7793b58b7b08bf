#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstdint>
#include <optional>
#include <system_error>

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;

TEST_CASE("a row has one living owner at a time, and each has an epoch of its own") {
    std::array<OwnerRow, 3> rows{};
    const Owners owners{rows.data(), rows.size()};
    REQUIRE_FALSE(owners.living(1));
    const Owner first = owners.admit(1, {4, 9}).value();
    REQUIRE(owners.alive(first));
    REQUIRE(owners.living(1).value() == first);
    REQUIRE(owners.name(1).slot == 4);
    REQUIRE(owners.name(1).generation == 9);
    REQUIRE(owners.admit(1, {5, 9}).error().is(std::errc::device_or_resource_busy));
    owners.bury(1);
    owners.bury(1);
    REQUIRE_FALSE(owners.alive(first));
    const Owner second = owners.admit(1, {5, 10}).value();
    REQUIRE(second.row == first.row);
    REQUIRE(second.epoch != first.epoch);
    REQUIRE_FALSE(owners.alive(first));
    REQUIRE(owners.alive(second));
}

TEST_CASE("a row that the table has not is nobody's") {
    std::array<OwnerRow, 3> rows{};
    const Owners owners{rows.data(), 2};
    REQUIRE(owners.admit(2, {}).error().is(std::errc::invalid_argument));
    owners.bury(2);
    owners.bury(~0U);
    REQUIRE_FALSE(owners.living(2));
    REQUIRE_FALSE(owners.alive({~0U, 1}));
    REQUIRE(owners.name(2).slot == 0);
    REQUIRE(rows[2].life == 0);
}

TEST_CASE("the epoch after the last one is not nobody's") {
    std::array<OwnerRow, 1> rows{};
    const Owners owners{rows.data(), rows.size()};
    rows[0].life = Word{~0U} << 1;
    REQUIRE(owners.admit(0, {}).value().epoch == 1);
}

TEST_CASE("an owner is buried once, and never in place of the next one of its row") {
    std::array<OwnerRow, 2> rows{};
    const Owners owners{rows.data(), rows.size()};
    const Owner first = owners.admit(0, {.slot = 1, .generation = 2, .process = 3}).value();
    REQUIRE(owners.name(0).process == 3);
    REQUIRE(owners.bury(first));
    REQUIRE_FALSE(owners.bury(first));
    const Owner second = owners.admit(0, {}).value();
    REQUIRE_FALSE(owners.bury(first));
    REQUIRE(owners.alive(second));
    REQUIRE(owners.name(0).process == 0);
    REQUIRE_FALSE(owners.bury(Owner{2, 1}));
}
