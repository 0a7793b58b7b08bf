#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

import ringfort.base;
import ringfort.master;

using namespace ringfort;
using master::Shortcomings;

TEST_CASE("each text is noted once, whoever says it, and all of them in their order") {
    Shortcomings shortcomings;
    CHECK(shortcomings.note("no io_uring"));
    CHECK(shortcomings.note(""));
    CHECK_FALSE(shortcomings.note("no io_uring"));
    CHECK_FALSE(shortcomings.note(""));
    CHECK(shortcomings.note("no io_uring, either"));
    CHECK(shortcomings.texts() ==
          std::vector<std::string>{"no io_uring", "", "no io_uring, either"});
}

TEST_CASE("of texts beyond so many none is noted: a worker can fill neither log nor memory") {
    Shortcomings shortcomings;
    for (std::size_t i = 0; i < limits::max_shortcomings; ++i)
        CHECK(shortcomings.note(std::to_string(i)));
    CHECK_FALSE(shortcomings.note("one more"));
    CHECK_FALSE(shortcomings.note("0"));
    CHECK(shortcomings.texts().size() == limits::max_shortcomings);
}
