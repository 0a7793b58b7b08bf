#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.cycle;
import ringfort.shm;

using namespace ringfort;
using cycle::Fate;
using cycle::ZoneRequest;

namespace {

const ZoneRequest limits_zone{.name = "limits", .tag = "limits/1", .size = Bytes{131'072}};

cycle::SharedZone zone_like(const ZoneRequest& request) {
    return cycle::make_zone(request).value();
}

Result<void> prepare_nothing(const shm::Pool&, const shm::Pool*) {
    return {};
}

/// What becomes of a zone that was made for the first request and is asked for as in the second.
cycle::ZoneFate fate(const ZoneRequest& before, const ZoneRequest& wanted,
                     const cycle::GrowOptions& options = {}) {
    return cycle::plan_zone(wanted, {zone_like(before)}, options).fate;
}

ZoneRequest with(Bytes size, ZoneRequest request = limits_zone) {
    request.size = size;
    return request;
}

}  // namespace

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
    const auto make = [&] {
        return cycle::make_zone(request, cycle::plan_zone(request, {before}), open);
    };
    REQUIRE(make());
    CHECK(calls == 2);
    CHECK(had_before);
    answer = Error{"prepare", std::errc::not_supported};
    CHECK(make().error().is(std::errc::not_supported));
    // What is corrupted is nothing to go on from.
    answer = {};
    before->payload()[0] ^= std::byte{1};
    REQUIRE(make());
    CHECK_FALSE(had_before);
}

TEST_CASE("a zone of the same name, size and purpose is kept, any other one is opened or closed") {
    const cycle::SharedZone zone = zone_like(limits_zone);
    const auto kept = cycle::plan_zone(
        limits_zone,
        {zone_like({.name = "other", .tag = "limits/1", .size = Bytes{131'072}}), zone});
    CHECK(kept.fate.fate == Fate::kept);
    CHECK(kept.fate.text == "kept");
    CHECK(kept.before == zone);
    ZoneRequest other = limits_zone;
    other.name = "more";
    auto opened = cycle::plan_zone(other, {zone});
    CHECK(opened.fate.fate == Fate::opened);
    CHECK(opened.fate.text == "opened, empty");
    CHECK(opened.before == nullptr);
    other.prepare = prepare_nothing;
    CHECK(cycle::plan_zone(other, {zone}).fate.text == "opened, filled by its service");
}

TEST_CASE("content that only its owner knows is kept as long as that finds it sound") {
    const ZoneRequest table{
        .name = "table",
        .tag = "table/1",
        .size = Bytes{8'192},
        .content = cycle::Content::custom,
        .sound = [](shm::Zone& zone) { return zone.payload()[0] == std::byte{}; }};
    const cycle::SharedZone zone = zone_like(table);
    CHECK(cycle::fits(*zone, table));
    CHECK(cycle::plan_zone(table, {zone}).fate.fate == Fate::kept);
    zone->payload()[0] = std::byte{1};
    CHECK_FALSE(cycle::fits(*zone, table));
    const auto told = cycle::plan_zone(table, {zone}).fate;
    CHECK(told.fate == Fate::replaced);
    CHECK(told.text == "replaced by an empty one: what is in it is corrupted");
}

TEST_CASE("why a zone is replaced is told") {
    const auto check = [](const cycle::ZoneFate& told, const std::string& text) {
        CHECK(told.fate == Fate::replaced);
        CHECK(told.text == text);
    };
    ZoneRequest wanted = limits_zone;
    wanted.reuse = false;
    check(fate(limits_zone, wanted), "replaced by an empty one: it is not to be reused");
    check(fate(limits_zone, with(Bytes{262'144}, wanted)),
          "replaced by an empty one: it is not to be reused");
    wanted.prepare = prepare_nothing;
    check(fate(limits_zone, wanted),
          "replaced by one that its service fills: it is not to be reused");
    wanted = limits_zone;
    wanted.tag = "limits/2";
    check(fate(limits_zone, wanted), "replaced by an empty one: it was used for limits/1");
    check(fate(limits_zone, with(Bytes{65'536})),
          "replaced by an empty one: it becomes smaller, 128KiB -> 64KiB");
    check(fate(limits_zone, with(Bytes{262'144}), {.readable = false}),
          "replaced by an empty one: it cannot be read here");
    const cycle::SharedZone spoiled = zone_like(limits_zone);
    spoiled->payload()[0] ^= std::byte{1};
    check(cycle::plan_zone(limits_zone, {spoiled}).fate,
          "replaced by an empty one: what is in it is corrupted");
    const ZoneRequest table{
        .name = "table", .tag = "table/1", .size = Bytes{8'192}, .content = cycle::Content::custom};
    CHECK(fate(table, table).fate == Fate::kept);
    check(fate(table, with(Bytes{16'384}, table)),
          "replaced by an empty one: its size changes, 8KiB -> 16KiB");
}

TEST_CASE("a zone that becomes larger grows, whoever says so, up to a bound for what is in it") {
    const ZoneRequest larger = with(Bytes{262'144});
    const cycle::SharedZone zone = zone_like(limits_zone);
    const shm::Pool pool = shm::Pool::keep(*zone).value();
    const Bytes content = shm::Pool::content(*zone).value();
    const auto plan = cycle::plan_zone(larger, {zone}, {.most = content});
    CHECK(plan.fate.fate == Fate::grown);
    CHECK(plan.fate.text == "grown, 128KiB -> 256KiB");
    CHECK(plan.obstacle.empty());
    const auto open = [&](shm::Zone&) -> Result<shm::Pool> { return pool; };
    REQUIRE(cycle::make_zone(larger, plan, open));

    const auto refused = cycle::plan_zone(larger, {zone}, {.most = Bytes{1'024}});
    CHECK(refused.obstacle ==
          "zone limits: more than 1KiB are in use, and no more is copied into a larger one: "
          "nobody could change anything meanwhile. Leave its size at 128KiB, or give the larger "
          "one another name: it begins empty.");
    // What has come into it since the plan was made is not copied either.
    {
        shm::Transaction more = pool.begin().value();
        REQUIRE(more.allocate(4'096) != 0);
        REQUIRE(more.commit());
    }
    CHECK(cycle::make_zone(larger, plan, open).error().is(std::errc::file_too_large));
    CHECK(cycle::plan_zone(larger, {zone}, {.most = content}).obstacle.size() > 0);
}

TEST_CASE("what becomes of zones is decided while somebody else has the lock") {
    const cycle::SharedZone zone = zone_like(limits_zone);
    const shm::Pool pool = shm::Pool::keep(*zone).value();
    const shm::Transaction holds = pool.begin().value();
    CHECK(cycle::plan_zone(limits_zone, {zone}).fate.fate == Fate::kept);
    CHECK(cycle::plan_zone(with(Bytes{262'144}), {zone}).fate.fate == Fate::grown);
}

TEST_CASE("of several zones of a name the one of the same purpose is gone on from") {
    ZoneRequest other = limits_zone;
    other.tag = "limits/2";
    const std::vector<cycle::SharedZone> stocked{zone_like(other), zone_like(limits_zone),
                                                 zone_like(other)};
    CHECK(cycle::plan_zone(limits_zone, stocked).before == stocked[1]);
    CHECK(cycle::plan_zone(with(Bytes{262'144}), stocked).before == stocked[1]);
    CHECK(cycle::plan_zone(with(Bytes{262'144}), stocked).fate.fate == Fate::grown);
}
