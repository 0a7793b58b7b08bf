#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

import ringfort.config;

using ringfort::config::enumerate;
using ringfort::config::nearest;

TEST_CASE("the nearest name is the one with the fewest typing mistakes") {
    const std::vector<std::string> names{"address", "service", "backlog", "mode", "warning"};
    CHECK(nearest("adress", names) == "address");
    CHECK(nearest("adderss", names) == "address");
    CHECK(nearest("sevrice", names) == "service");
    CHECK(nearest("mdoe", names) == "mode");
    CHECK(nearest("back_log", names) == "backlog");
    CHECK(nearest("warn", names) == "warning");
}

TEST_CASE("a name near to none has no nearest") {
    const std::vector<std::string> names{"address", "service", "mode"};
    CHECK(nearest("timeout", names).empty());
    CHECK(nearest("", names).empty());
    CHECK(nearest("xx", names).empty());
    CHECK(nearest(std::string(1'000'000, 'a'), names).empty());
    CHECK(nearest("a", {}).empty());
}

TEST_CASE("names are joined as people do") {
    CHECK(enumerate({}).empty());
    CHECK(enumerate({"a"}) == "`a`");
    CHECK(enumerate({"a", "b", "c"}) == "`a`, `b` and `c`");
    CHECK(enumerate({"a", "b"}, "or") == "`a` or `b`");
}
