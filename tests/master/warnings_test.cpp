#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

import ringfort.base;
import ringfort.master;

using namespace ringfort;
using master::Warnings;

TEST_CASE("each text is new once, whoever says it") {
    Warnings warnings;
    CHECK(warnings.is_new("no io_uring"));
    CHECK(warnings.is_new(""));
    CHECK_FALSE(warnings.is_new("no io_uring"));
    CHECK_FALSE(warnings.is_new(""));
    CHECK(warnings.is_new("no io_uring, either"));
}

TEST_CASE("of texts beyond so many none is new, so that a worker cannot fill the log or memory") {
    Warnings warnings;
    for (std::size_t i = 0; i < limits::max_shortcomings; ++i)
        CHECK(warnings.is_new(std::to_string(i)));
    CHECK_FALSE(warnings.is_new("one more"));
    CHECK_FALSE(warnings.is_new("0"));
}
