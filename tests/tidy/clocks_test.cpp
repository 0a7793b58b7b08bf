#include "clocks.h"

#include <catch2/catch_test_macros.hpp>

TEST_CASE("a reading of the wall clock is found, whatever it is called") {
    for (const char* line :
         {"::clock_gettime(CLOCK_REALTIME, &time);", "::gettimeofday(&time, nullptr);",
          "const auto now = std::chrono::system_clock::now();", "srand(::time(nullptr));",
          "flags = IORING_TIMEOUT_REALTIME;", "::sem_timedwait(&s, &until);",
          "std::chrono::high_resolution_clock::now()"}) {
        INFO(line);
        CHECK(tidy::check_clocks({"modules/net/a.cpp", line}).size() == 1);
    }
    CHECK(text(tidy::check_clocks({"modules/net/a.cpp", "\n::clock_gettime(CLOCK_TAI, &t);\n"})) ==
          "modules/net/a.cpp:2: use ringfort::now(), which nobody can set, instead of CLOCK_TAI\n");
}

TEST_CASE("the monotonic clock, a file's time and a comment are no wall clock") {
    for (const char* line :
         {"::clock_gettime(CLOCK_MONOTONIC, &time);", "// CLOCK_REALTIME would jump",
          "system_clock::time_point modified = {};", "loop.scheduler().time()",
          "std::chrono::steady_clock::now()"}) {
        INFO(line);
        CHECK(tidy::check_clocks({"modules/net/a.cpp", line}).empty());
    }
}

TEST_CASE("the log's dates may come from the wall clock") {
    CHECK(tidy::check_clocks({"modules/base/clock.cpp", "clock_gettime(CLOCK_REALTIME, &t);"})
              .empty());
}
