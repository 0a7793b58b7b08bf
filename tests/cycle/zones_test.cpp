#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

import ringfort.base;
import ringfort.cycle;
import ringfort.shm;

using namespace ringfort;

TEST_CASE("a zone fits a request of the same name, tag and size only") {
    const cycle::ZoneRequest request{.name = "limits", .tag = "pool", .size = Bytes{65'536}};
    const auto zone = cycle::make_zone(request).value();
    auto other = request;
    other.name = "limit";
    CHECK_FALSE(cycle::fits(*zone, other));
    other = request;
    other.tag = "limits/2";
    CHECK_FALSE(cycle::fits(*zone, other));
    other = request;
    other.size = Bytes{131'072};
    CHECK_FALSE(cycle::fits(*zone, other));
}

TEST_CASE("a zone is there once, with the size and the purpose that somebody says") {
    std::vector<std::string> obstacles;
    const auto joined =
        cycle::join({{.name = "limits", .size = Bytes{65'536}},
                     {.name = "free", .size = Bytes{65'536}, .noreuse = true}},
                    {{.name = "limits", .tag = "limits/1"},
                     {.name = "limits", .tag = "limits/1", .size = Bytes{65'536}},
                     {.name = "own", .tag = "own/1", .size = Bytes{131'072}, .reuse = false}},
                    obstacles);
    CHECK(obstacles.empty());
    REQUIRE(joined.size() == 3);
    CHECK(joined[0].tag == "limits/1");
    CHECK(joined[0].size == Bytes{65'536});
    CHECK(joined[0].reuse);
    CHECK(joined[1].tag == cycle::pool_tag);
    CHECK_FALSE(joined[1].reuse);
    CHECK(joined[2].size == Bytes{131'072});
    CHECK_FALSE(joined[2].reuse);
}

TEST_CASE("zones that do not agree keep a cycle from being built, with what to do") {
    std::vector<std::string> obstacles;
    const auto say = [&](std::vector<cycle::ZoneRequest> requests) {
        obstacles.clear();
        (void)cycle::join({{.name = "limits", .size = Bytes{65'536}}}, requests, obstacles);
        return obstacles.size() == 1 ? obstacles[0] : std::to_string(obstacles.size());
    };
    CHECK(say({{.name = "limits", .tag = "a/1"}, {.name = "limits", .tag = "b/1"}}) ==
          "zone limits: it is used for a/1 already, and cannot be used for b/1, too. Give each a "
          "[[zone]] of its own.");
    CHECK(say({{.name = "limits", .tag = "a/1", .size = Bytes{131'072}}}) ==
          "zone limits: it is 64KiB large, but 128KiB are asked for.");
    CHECK(say({{.name = "limit", .tag = "a/1"}}) ==
          "zone limit: a/1 needs it, but there is none of that name. Add a [[zone]].");
}

TEST_CASE("a zone that is laid out in a way of its own belongs to one alone") {
    std::vector<std::string> obstacles;
    const cycle::ZoneRequest table{
        .name = "table", .tag = "table/1", .size = Bytes{8192}, .content = cycle::Content::custom};
    const auto say = [&](const cycle::ZoneRequest& first, const cycle::ZoneRequest& second) {
        obstacles.clear();
        (void)cycle::join({}, {first, second}, obstacles);
        return obstacles.size() == 1 ? obstacles[0] : std::to_string(obstacles.size());
    };
    const std::string refusal =
        "zone table: table/1 lays it out in its own way, so that nobody else can use it. Take "
        "another name.";
    CHECK(say(table, {.name = "table", .tag = "table/1"}) == refusal);
    CHECK(say({.name = "table", .size = Bytes{65'536}}, table) == refusal);
    CHECK(say(table, table) == refusal);
}

TEST_CASE("of several that prepare a zone each has its say, in order, until one fails") {
    std::vector<std::string> obstacles, said;
    Result<void> answer;
    const auto service = [&](const std::string& name) {
        return cycle::ZoneRequest{
            .name = "peers",
            .tag = "peers/1",
            .size = Bytes{65'536},
            .prepare = [&said, &answer, name](const shm::Pool&, const shm::Pool*) {
                said.push_back(name);
                return answer;
            }};
    };
    const auto joined =
        cycle::join({}, {service("a"), {.name = "peers"}, service("b"), service("c")}, obstacles);
    REQUIRE(joined.size() == 1);
    REQUIRE(cycle::make_zone(joined[0]));
    CHECK(said == std::vector<std::string>{"a", "b", "c"});
    said.clear();
    answer = Error{"prepare", std::errc::not_supported};
    CHECK(cycle::make_zone(joined[0]).error().is(std::errc::not_supported));
    CHECK(said == std::vector<std::string>{"a"});
}

TEST_CASE("a zone that cannot be made is told of, with its bounds, and left out") {
    const auto say = [](const cycle::ZoneRequest& request) {
        std::vector<std::string> obstacles;
        CHECK(cycle::join({}, {request}, obstacles).empty());
        return obstacles.size() == 1 ? obstacles[0] : std::to_string(obstacles.size());
    };
    CHECK(say({.name = "tiny", .size = Bytes{4'096}}) ==
          "zone tiny: 4KiB are asked for; it may have from 64KiB to 64GiB.");
    CHECK(say({.name = "huge", .size = Bytes{65ULL << 30}}) ==
          "zone huge: 65GiB are asked for; it may have from 64KiB to 64GiB.");
    CHECK(say({.name = "table", .size = Bytes{1}, .content = cycle::Content::custom}) ==
          "zone table: 1B are asked for; it may have from 4KiB to 64GiB.");
    CHECK(say({.name = "", .size = Bytes{65'536}}) == "zone : a name has from 1 to 63 bytes.");
    CHECK(say({.name = "no", .tag = "no/1", .size = Bytes{0}}) ==
          "zone no: no/1 needs it, but there is none of that name. Add a [[zone]].");
    const std::string purpose(64, 'p');
    CHECK(say({.name = "long", .tag = purpose, .size = Bytes{65'536}}) ==
          "zone long: its purpose is " + purpose + ", but has no more than 63 bytes.");
}
