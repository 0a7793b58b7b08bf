#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <system_error>

import ringfort.base;
import ringfort.cycle;
import ringfort.shm;

using namespace ringfort;

TEST_CASE("a zone is made as requested and laid out once") {
    int formatted = 0;
    const cycle::ZoneRequest request{.name = "table",
                                     .tag = "table/1",
                                     .size = Bytes{8192},
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
}

TEST_CASE("a zone fits a request of the same name, tag and size only") {
    const cycle::ZoneRequest request{.name = "limits", .tag = "", .size = Bytes{8192}};
    const auto zone = cycle::make_zone(request).value();
    auto other = request;
    other.name = "limit";
    CHECK_FALSE(cycle::fits(*zone, other));
    other = request;
    other.tag = "limits/2";
    CHECK_FALSE(cycle::fits(*zone, other));
    other = request;
    other.size = Bytes{4096};
    CHECK_FALSE(cycle::fits(*zone, other));
}

TEST_CASE("a zone that cannot be laid out is an error") {
    const auto made = cycle::make_zone({.name = "table",
                                        .tag = "table/1",
                                        .size = Bytes{4096},
                                        .format = [](shm::Zone&) -> Result<void> {
                                            return Error{"format", std::errc::no_space_on_device};
                                        }});
    REQUIRE_FALSE(made);
    CHECK(made.error().is(std::errc::no_space_on_device));
    CHECK_FALSE(cycle::make_zone({.name = "", .tag = "", .size = Bytes{4096}}));
}
