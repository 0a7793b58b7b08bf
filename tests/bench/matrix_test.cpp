#include "matrix.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>
#include <vector>

#include "cell.hpp"

namespace {

bool among(const std::vector<bench::CellSpec>& cells, const std::string& name) {
    return std::any_of(cells.begin(), cells.end(),
                       [&](const bench::CellSpec& cell) { return cell.name() == name; });
}

}  // namespace

TEST_CASE("every cell has a name of its own") {
    std::set<std::string> names;
    for (const bench::CellSpec& cell : bench::all_cells()) CHECK(names.insert(cell.name()).second);
}

TEST_CASE("the cells of --quick and of the bars are cells of the matrix") {
    for (const bench::CellSpec& cell : bench::quick_cells())
        CHECK(among(bench::all_cells(), cell.name()));
    for (const bench::CellSpec& cell : bench::bar_cells())
        CHECK(among(bench::all_cells(), cell.name()));
}

TEST_CASE("patterns pick cells by name, and no pattern picks all") {
    CHECK(bench::selected({}, "echo-c1-p64-d1"));
    CHECK(bench::selected({"relay-*", "echo-c1-*"}, "echo-c1-p64-d1"));
    CHECK_FALSE(bench::selected({"echo-c1"}, "echo-c1-p64-d1"));
}

TEST_CASE("the short list of cells takes less than three minutes") {
    bench::CellOptions options;
    options.pairs = 6;
    double seconds = 0;
    // Ours and hand-written C: two echoes, three relays (compare.cpp).
    for (const bench::CellSpec& cell : bench::quick_cells())
        seconds += (cell.kind == bench::Kind::echo ? 3 : 4) * bench::seconds_of(cell, options);
    CHECK(seconds > 60);
    CHECK(seconds < 180);
}
