#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.channel;
import ringfort.master;
import ringfort.process;

using namespace ringfort;
using master::Roster;
using master::WorkerId;

namespace {

master::WorkerProcess worker(WorkerId id, std::uint32_t row) {
    return {.id = id,
            .process = {.pid = 1, .pidfd = Fd{}},
            .channel = channel::Channel::adopt(Fd{}),
            .row = row};
}

}  // namespace

TEST_CASE("a roster finds the workers it was given until they are removed") {
    Roster roster;
    CHECK(roster.find({1, 0}) == nullptr);
    auto& first = roster.add(worker({1, 0}, 0));
    for (std::uint32_t slot = 1; slot < 50; ++slot) roster.add(worker({1, slot}, slot));
    CHECK(roster.find({1, 0}) == &first);  // more workers do not move it
    CHECK(roster.find({2, 0}) == nullptr);
    CHECK(roster.find({1, 49})->row == 49);
    roster.remove({1, 0});
    CHECK(roster.find({1, 0}) == nullptr);
    roster.remove({1, 0});
    CHECK(roster.workers().size() == 49);
}

TEST_CASE("a free row is the lowest that no living worker uses") {
    Roster roster;
    CHECK(roster.free_row() == 0);
    roster.add(worker({1, 0}, 0));
    roster.add(worker({1, 1}, 1));
    roster.add(worker({2, 0}, 2));
    CHECK(roster.free_row() == 3);
    roster.remove({1, 1});
    CHECK(roster.free_row() == 1);
}

TEST_CASE("a row that somebody else owns is not free") {
    Roster roster;
    roster.add(worker({1, 0}, 0));
    CHECK(roster.free_row([](std::uint32_t row) { return row > 3; }) == 4);
    CHECK_FALSE(roster.free_row([](std::uint32_t) { return false; }));
}

TEST_CASE("there are rows for the workers of as many generations as may live, and no more") {
    Roster roster;
    for (std::uint32_t row = 0; row < limits::max_counter_rows; ++row) {
        REQUIRE(roster.free_row() == row);
        roster.add(worker({row / limits::max_workers, row % limits::max_workers}, row));
    }
    CHECK_FALSE(roster.free_row());
    roster.remove({2, 7});
    CHECK(roster.free_row() == 2 * limits::max_workers + 7);
}

TEST_CASE("beside another master a roster takes rows from the other end, and none of its") {
    Roster roster;
    CHECK_FALSE(roster.rows_from_top());
    roster.share_rows({0, 1, limits::max_counter_rows - 1}, true);
    CHECK(roster.rows_from_top());
    CHECK(roster.free_row() == limits::max_counter_rows - 2);
    roster.add(worker({1, 0}, limits::max_counter_rows - 2));
    CHECK(roster.free_row() == limits::max_counter_rows - 3);
    CHECK(roster.rows() == std::vector<std::uint32_t>{0, 1, limits::max_counter_rows - 1,
                                                      limits::max_counter_rows - 2});
    roster.own_rows();  // the other has gone
    CHECK(roster.free_row() == limits::max_counter_rows - 1);
    CHECK(roster.rows() == std::vector<std::uint32_t>{limits::max_counter_rows - 2});
}
