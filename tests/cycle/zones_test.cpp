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

TEST_CASE("a zone is made as requested and laid out once") {
    int formatted = 0;
    const cycle::ZoneRequest request{.name = "table",
                                     .tag = "table/1",
                                     .size = Bytes{8192},
                                     .content = cycle::Content::custom,
                                     .format = [&](shm::Zone& zone) -> Result<void> {
                                         ++formatted;
                                         zone.payload()[0] = std::byte{42};
                                         return {};
                                     }};
    const auto made = cycle::make_zone(request);
    REQUIRE(made);
    CHECK(formatted == 1);
    CHECK((*made)->payload()[0] == std::byte{42});
    CHECK(cycle::fits(**made, request));
    *((*made)->payload().data() - 1) ^= std::byte{1};  // of its header
    CHECK_FALSE(cycle::fits(**made, request));
}

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

TEST_CASE("a zone that cannot be laid out is an error") {
    const auto made = cycle::make_zone({.name = "table",
                                        .tag = "table/1",
                                        .size = Bytes{4096},
                                        .content = cycle::Content::custom,
                                        .format = [](shm::Zone&) -> Result<void> {
                                            return Error{"format", std::errc::no_space_on_device};
                                        }});
    REQUIRE_FALSE(made);
    CHECK(made.error().is(std::errc::no_space_on_device));
    CHECK_FALSE(cycle::make_zone({.name = "", .tag = "", .size = Bytes{65'536}}));
}

TEST_CASE("a new pool has what its service prepares, and knows the one before it") {
    const cycle::SharedZone before =
        cycle::make_zone({.name = "peers", .tag = "peers/1", .size = Bytes{65'536}}).value();
    int calls = 0;
    bool had_before = false;
    Result<void> answer;
    const cycle::ZoneRequest request{
        .name = "peers",
        .tag = "peers/1",
        .size = Bytes{65'536},
        .reuse = false,
        .prepare = [&](const shm::Pool& made, const shm::Pool* old) -> Result<void> {
            ++calls;
            had_before = old != nullptr;
            CHECK_FALSE(made.quarantined());
            return answer;
        }};
    const cycle::OpenPool open = [](shm::Zone& zone) { return shm::Pool::keep(zone); };
    REQUIRE(cycle::make_zone(request));
    CHECK(calls == 1);
    CHECK_FALSE(had_before);
    REQUIRE(cycle::make_zone(request, before, open));
    CHECK(calls == 2);
    CHECK(had_before);
    answer = Error{"prepare", std::errc::not_supported};
    CHECK(cycle::make_zone(request, before, open).error().is(std::errc::not_supported));
    // What is corrupted is nothing to go on from.
    answer = {};
    before->payload()[0] ^= std::byte{1};
    REQUIRE(cycle::make_zone(request, before, open));
    CHECK_FALSE(had_before);
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
